"""Makes a registered version champion by a person's decision, and takes such a decision back.

    sr promote models:/sr-edsr-x4-bicubic/3 --reason "sharper on foliage"
    sr rollback sr-edsr-x4-bicubic --reason "halos around text"

A promotion has the rules of a registration (flows/champion.py): the same test set, protocol and number format, and
never a worse figure; one that is as good suffices here. A rollback goes to the champion before this one, and again to
the one before that. Both write who, when, why, from and to into a history (flows/history.py) before the alias moves.
Given again after the server died in the middle, they finish what was begun; given again after they were done, a
promotion changes nothing.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import history
from flows.champion import Figures, decide
from flows.turns import alone
from serving.registered import or_none, version_called
from serving.store import READ, connect, default_uri, explained
from sr_core import config
from sr_core.errors import ConfigError, SrError
from sr_core.train.start import REGISTRY

PARAMS = "params.yaml"


def promote(given: str, *, reason: str, uri: str, who: str | None = None) -> str:
    """Makes the version called `given` (models:/<name>/<number>, models:/<name>@<alias>) champion; says what it did.

    Raises:
        ConfigError: there is no such version, or no reason.
        SrError: its figures cannot be compared with the champion's, or are worse.
        TrackError: the registry does not answer. BusyError: another promotion goes on.
    """
    text = history.checked(reason)
    with _changing(uri) as client:
        version = version_called(client, given) if given.startswith(REGISTRY) else None
        if version is None:
            raise ConfigError(
                f"{given}: there is no such version; expected such as models:/sr-edsr-x4-bicubic/3 or "
                "models:/sr-edsr-x4-bicubic@challenger"
            )
        name, number = str(version.name), int(version.version)
        with alone(client, name) as still:
            holder = history.holder_of(client, name, history.CHAMPION)
            if holder == number:
                return f"{name}: version {number} is champion already; nothing was changed"
            begun = history.pending(history.read(client, name), holder)
            figures = _compared(client, name, holder, number)
            if begun and (begun[1].action, begun[1].target) == ("promote", number):
                history.crown(client, name, begun[1], key=begun[0], still=still)
                return f"{name}: version {number} is champion now, as was begun at {begun[1].when}: {begun[1].reason}"
            made = history.entry("promote", holder, number, text, who=history.whoever(who), figures=figures)
            history.crown(client, name, made, still=still)
    return f"{name}: version {number} is champion now, before it {_shown(holder)} ({figures}): {text}"


def _compared(client: Any, name: str, holder: int | None, number: int) -> str:
    """What speaks for the promotion.

    Raises:
        SrError: what speaks against it.
    """
    new = _figures(client, name, number)
    against = _figures(client, name, holder) if holder is not None else None
    decision = decide(new, against, as_good_suffices=True)
    if not decision.champion:
        raise SrError(f"{name}: version {number} is not promoted, {decision.reason}")
    return decision.reason


def _figures(client: Any, name: str, number: int) -> Figures:
    figures = Figures.from_tags(number, client.get_model_version(name, str(number)).tags)
    if figures is None:
        raise SrError(
            f"{name}: version {number} has no figures to compare; evaluate and register it again: python -m flows.train"
        )
    return figures


def rollback(name: str, *, reason: str, uri: str, who: str | None = None) -> str:
    """Gives the title of `name` back to the version that held it before; says what it did.

    Raises:
        ConfigError: there is no such model, or no reason.
        SrError: there is no champion, or none before it.
        TrackError: the registry does not answer. BusyError: another promotion goes on.
    """
    text = history.checked(reason)
    name = name.removeprefix(REGISTRY)
    with _changing(uri) as client:
        if or_none(lambda: client.get_registered_model(name)) is None:
            raise ConfigError(f"{name}: there is no such registered model; expected a name such as sr-edsr-x4-bicubic")
        with alone(client, name) as still:
            entries = history.read(client, name)
            holder = history.holder_of(client, name, history.CHAMPION)
            if holder is None:
                raise SrError(f"{name}: has no champion, so there is nothing to roll back; promote a version instead")
            begun = history.pending(entries, holder)
            if begun and begun[1].action == "rollback":
                history.crown(client, name, begun[1], key=begun[0], still=still)
                return f"{name}: champion is version {begun[1].target}, as was begun at {begun[1].when}"
            target, gone = _before(client, name, list(entries.values()), holder)
            made = history.entry("rollback", holder, target, text, who=history.whoever(who))
            history.crown(client, name, made, still=still)
    skipped = f" ({', '.join(f'version {one}' for one in gone)} before it was deleted)" if gone else ""
    return f"{name}: champion is version {target} again{skipped}, and version {holder} challenger: {text}"


def _before(client: Any, name: str, entries: Sequence[history.Entry], holder: int) -> tuple[int, list[int]]:
    """The champion before `holder` that still is there, and those between that are not."""
    gone: list[int] = []
    for number in reversed(history.champions(entries, holder)[:-1]):
        if number == holder:
            continue
        if or_none(lambda number=number: client.get_model_version(name, str(number))) is not None:  # type: ignore[misc]
            return number, gone
        gone.append(number)
    raise SrError(
        f"{name}: no champion before version {holder} is on record, so there is nothing to roll back to; "
        f"promote another version instead: sr promote {REGISTRY}{name}/…"
    )


@contextmanager
def _changing(uri: str) -> Iterator[Any]:
    client = connect(uri, named=READ, create=False)
    with explained(uri, named=READ):
        yield client


def _shown(number: int | None) -> str:
    return "none" if number is None else f"version {number}"


def store_uri(given: str | None) -> str:
    """The registry: as given, MLFLOW_TRACKING_URI, track.uri of params.yaml here, or mlflow.db here."""
    if given:
        return given
    uri = default_uri()
    if uri == default_uri({}) and Path(PARAMS).is_file():
        return config.load(PARAMS).track.uri
    return uri


def parser(verb: str, text: str) -> argparse.ArgumentParser:
    """The options that the verbs on the registry share."""
    made = argparse.ArgumentParser(prog=f"sr {verb}", description=text)
    made.add_argument("--uri", help="MLflow's address (default: MLFLOW_TRACKING_URI, or track.uri of params.yaml)")
    return made


def command(verb: str, text: str, what: str, call: Callable[..., str], argv: Sequence[str] | None) -> int:
    """The command line of a verb that changes the champion; returns the exit code."""
    options = parser(verb, text)
    options.add_argument("model", help=what)
    options.add_argument("--reason", required=True, help="why, for whoever reads the history")
    options.add_argument("--who", help="who decided it (default: MLFLOW_TRACKING_USERNAME, or you on this host)")
    given = options.parse_args(argv)
    try:
        print(call(given.model, reason=given.reason, uri=store_uri(given.uri), who=given.who))
    except SrError as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`sr promote models:/<name>/<number> --reason …`; returns the exit code."""
    what = "models:/<name>/<number> or models:/<name>@challenger"
    return command("promote", "Make a registered version champion.", what, promote, argv)


if __name__ == "__main__":
    sys.exit(main())
