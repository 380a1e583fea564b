"""How flows run: without a server set up, with progress that a person can read, and failing in one sentence.

Started by hand (`python -m flows.train edsr`) a flow shows bars or plain lines itself and Prefect stays quiet; under a
worker its lines go to the flow run's log.
"""

import argparse
import contextlib
import functools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from flows.driver import interrupted
from sr_core import config
from sr_core.errors import STOPPED, SrError, TrackError, explained
from sr_core.extras import require
from sr_core.progress import Progress, console, lines

require("prefect", "pipeline")  # the other modules take `flow` and `task` from here, and so this sentence first
from httpx import TransportError  # noqa: E402, of Prefect's client
from prefect import flow, get_client, get_run_logger, task  # noqa: E402
from prefect.artifacts import (  # noqa: E402
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.actions import ArtifactUpdate  # noqa: E402
from prefect.exceptions import TerminationSignal  # noqa: E402
from prefect.runtime import deployment  # noqa: E402
from prefect.settings import temporary_settings  # noqa: E402

__all__ = ["flow", "task"]

# what each task is given: manifests are the only caches, and results are paths and digests that nobody stores
TASK: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
SERVER_LOGGERS = ("prefect.events.clients", "prefect._internal.concurrency")  # many lines where its server is lost


def may_pass(_task: object, _task_run: object, state: Any) -> bool:
    """Whether trying again could help: never after an error that says what to change, unless a server was away."""
    error = state.data
    return not isinstance(error, SrError) or isinstance(error, TrackError)


RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [5.0, 30.0], "retry_condition_fn": may_pass}


def output() -> Callable[[str], None]:
    """For use in a task: takes lines for the flow run's log under a worker, for standard output otherwise."""
    return functools.partial(print, flush=True) if deployment.id is None else get_run_logger().info


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """For use in a task: progress to where `output` goes."""
    if deployment.id is None:
        with console() as bars:
            yield bars
    else:
        yield lines(output())


def shows_bars() -> bool:
    """Whether progress is drawn on a terminal, by whichever process has it."""
    return deployment.id is None and sys.stdout.isatty()


# a picture of work that goes on by itself is not worth a minute of trying again, or of waiting
_IMPATIENT = {"client.max_retries": 0, "api.request_timeout": 5.0}


def table_artifact(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """For use in a task: a table on Prefect's page of it; says so if its server does not take it."""
    _artifact(key, lambda: create_table_artifact(key=key, table=rows, description=description))


def markdown_artifact(key: str, markdown: str, description: str) -> None:
    """For use in a task: text, and pictures in data: URIs, on Prefect's page of it; as `table_artifact`."""
    _artifact(key, lambda: create_markdown_artifact(markdown, key=key, description=description))


def _artifact(key: str, create: Callable[[], object]) -> None:
    try:
        with temporary_settings(set_defaults=_IMPATIENT):
            create()
    except Exception as error:  # the work is done, whatever becomes of its picture
        output()(f"Prefect's server does not take the artifact {key} ({type(error).__name__}: {error})")


class Artifacts:
    """For use in a task: how far it has come and a table, made at the first update and then the same ones."""

    def __init__(self, name: str) -> None:
        self._name, self._ids = name, dict[str, Any]()

    def update(self, percent: float, rows: list[dict[str, Any]], description: str) -> None:
        """Raises whatever Prefect's client does when its server is down; waits for it for some seconds at most."""
        with temporary_settings(set_defaults=_IMPATIENT):
            progress, table = self._ids.get("progress"), self._ids.get("table")
            if progress is None:
                key = f"progress-{self._name}"
                self._ids["progress"] = create_progress_artifact(percent, key=key, description=description)
            else:
                update_progress_artifact(progress, percent, description=description)
            if table is None:
                key = f"training-{self._name}"
                self._ids["table"] = create_table_artifact(rows, key=key, description=description)
            else:
                new = ArtifactUpdate(data=json.dumps(rows), description=description)
                get_client(sync_client=True).update_artifact(table, new)


def errors_in_one_sentence() -> None:
    """For use in a flow: Prefect logs an SrError without its traceback."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], SrError):
        record.exc_info = None
    return True


def _below_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def parser(module: str, text: str) -> argparse.ArgumentParser:
    """The options that every flow's command has."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=text)
    made.add_argument("--params", default="params.yaml", help="the parameters (default: params.yaml)")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one, as train.lr=1e-4")
    made.add_argument("--verbose", action="store_true", help="what Prefect logs, and tracebacks")
    return made


def run(given: argparse.Namespace, call: Callable[[], Any]) -> int:
    """Runs `call`, which calls a flow, for a command line read by `parser`; returns the exit code."""
    # Prefect puts its own before it for as long as a flow runs
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        config.load(given.params, given.set)  # a mistake in it is said before a server is started
        with _by_hand(verbose=given.verbose):
            call()
    except (SrError, OSError) as error:
        print(explained(error), file=sys.stderr)
        return explained(error).exit_code
    except TransportError as error:
        print(
            f"PREFECT_API_URL: Prefect's server was lost ({type(error).__name__}: {error}), and with it the record of "
            "this flow run; what its steps have finished stays, and the same command does the rest",
            file=sys.stderr,
        )
        return TrackError.exit_code
    except (KeyboardInterrupt, TerminationSignal):
        print(f"{interrupted()}; the same command goes on from there", file=sys.stderr)
        return STOPPED
    return 0


@contextlib.contextmanager
def _by_hand(*, verbose: bool) -> Iterator[None]:
    """Prefect as a flow of one's own needs it: quiet, patient with its temporary server, and reporting nothing home."""
    defaults = {
        "logging.level": "INFO" if verbose else "WARNING",
        "server.analytics_enabled": False,
        "server.ephemeral.startup_timeout_seconds": 60,  # the first start in a home makes a database
        "flows.heartbeat_frequency": None,  # costs a second at the end of each flow
    }
    with temporary_settings(set_defaults=defaults) as settings:
        # Prefect has set up logging when it was imported
        logging.getLogger("prefect").setLevel(settings.logging.level)
        for name in () if verbose else RUN_LOGGERS:
            logging.getLogger(name).addFilter(_below_error)  # what fails is said at the end
        for name in () if verbose else SERVER_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _find_server(settings.api.url)
        yield


def _find_server(url: str | None) -> None:
    """Starts the temporary server that this process's flows will use, or checks that the one at `url` answers."""
    try:
        if url is None:
            print("starting a Prefect server for this run", flush=True)
            with _deferred(signal.SIGINT):
                get_client(sync_client=True)
        elif (failure := get_client(sync_client=True).api_healthcheck()) is not None:
            raise SrError(
                f"PREFECT_API_URL: no Prefect server answers at {url} ({failure}); start it with `prefect server "
                "start`, or unset the variable (in a profile: `prefect config unset PREFECT_API_URL`) to need none"
            )
    except RuntimeError as error:
        raise SrError(f"Prefect's temporary server did not start: {error}") from None


@contextlib.contextmanager
def _deferred(number: signal.Signals) -> Iterator[None]:
    """Lets a signal wait, for good in processes that start now: ctrl-C must not end the server before the flow."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
