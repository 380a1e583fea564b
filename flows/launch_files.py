"""What the flow, Ray's driver and the ranks tell each other, as files in <where the work is>/launch-<pid>-<host>/.

For training, the work is in data/runs/<run>; shards are built without ranks, and with fewer of these files.

    params.json            flow to driver: the resolved parameters
    progress.jsonl         rank 0 to driver: what a person should see
    stop                   flow to ranks: end at the next step, with a checkpoint
    result.json            rank 0 or the driver to flow: how the work ended
    errors.txt             what the driver writes to standard error
    failure-<who>.json     a rank or the driver to flow: an error meant for the user
    verified-<host>        a rank to later ones: the shards were read through there; this is a group that was restarted

Files, since what Ray hands back can be lost with a worker, and a restarted group has to know what its predecessor
met. The directory lives as long as the process named by it. Ranks that may run on another host reach it by courier
(flows/courier.py).
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sr_core import config, errors, files
from sr_core.errors import SrError
from sr_core.progress import Progress, Unit

FLUSH_EVERY_S = 0.2  # rank 0 writes progress at most this often: a step may take milliseconds


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LaunchFiles:
    """The files of one launch, below `directory` (absolute)."""

    directory: Path

    @classmethod
    @contextlib.contextmanager
    def make(cls, parent: Path) -> Iterator["LaunchFiles"]:
        """A fresh directory for this process's launch, deleted on leaving; sweeps those of dead processes."""
        host = socket.gethostname()
        for stale in parent.glob("launch-*"):
            _, pid, owner = stale.name.split("-", 2)
            # one with our own process id is of an earlier life: a container starts with the same ids again
            if owner == host and (int(pid) == os.getpid() or not files.is_alive(int(pid))):
                shutil.rmtree(stale, ignore_errors=True)
        directory = parent.resolve() / f"launch-{os.getpid()}-{host}"
        directory.mkdir(parents=True)
        try:
            yield cls(directory=directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def progress(self) -> Path:
        """Where rank 0 writes what `replay` shows."""
        return self.directory / "progress.jsonl"

    @property
    def stop(self) -> Path:
        """Its presence asks the ranks to stop."""
        return self.directory / "stop"

    @property
    def stderr(self) -> Path:
        """What Ray and Python say of the driver, which nobody needs unless it dies."""
        return self.directory / "errors.txt"

    def write_params(self, params: config.Params) -> None:
        """Leaves the parameters for `read_params`."""
        files.write_atomic(self.directory / "params.json", files.to_json(config.to_dict(params)))

    def read_params(self) -> config.Params:
        """The parameters that the flow has resolved."""
        return config.from_dict(json.loads((self.directory / "params.json").read_text()))

    def write_result(self, values: Mapping[str, Any]) -> None:
        """Leaves what `read_result` returns: plain values."""
        files.write_atomic(self._result, files.to_json(dict(values)))

    def has_result(self) -> bool:
        """Whether the work has ended, and all that it wrote is written."""
        return self._result.exists()

    def has_nothing_to_lose(self) -> bool:
        """Whether the ranks may be ended: they have left a result, or no step was begun."""
        return self.has_result() or not self.verified_hosts()

    @property
    def _result(self) -> Path:
        return self.directory / "result.json"

    def read_result(self) -> dict[str, Any] | None:
        """How the work ended, or None if it did not.

        Raises:
            SrError: of the kind and with the sentence that a rank or the driver has left.
        """
        for path in sorted(self.directory.glob("failure-*.json")):
            failure = json.loads(path.read_text())
            raise getattr(errors, failure["kind"])(failure["sentence"])
        if not self.has_result():
            return None
        values: dict[str, Any] = json.loads(self._result.read_text())
        return values

    def write_failure(self, who: str, error: SrError) -> None:
        """Leaves an error to be raised by `read_result`."""
        kind = type(error).__name__ if hasattr(errors, type(error).__name__) else SrError.__name__
        failure = {"kind": kind, "sentence": str(error)}
        files.write_atomic(self.directory / f"failure-{who}.json", files.to_json(failure))

    def append_progress(self, line: str) -> None:
        """Adds a line of a FileProgress, for `Replay`."""
        with self.progress.open("a") as file:
            file.write(line + "\n")

    def is_asked_to_stop(self) -> bool:
        """Whether the ranks should end at the next step."""
        return self.stop.exists()

    def verified_hosts(self) -> list[str]:
        """The hosts where this launch has read every byte of the shards."""
        return [path.name.partition("-")[2] for path in self.directory.glob("verified-*")]

    def mark_verified(self, host: str) -> None:
        """For `verified_hosts`."""
        (self.directory / f"verified-{host}").touch()

    def num_failures(self) -> int:
        """How many have left one."""
        return len(list(self.directory.glob("failure-*.json")))


class FileProgress:
    """A Progress whose calls are lines that `append` is given, for `Replay` in another process."""

    def __init__(self, append: Callable[[str], None]) -> None:
        self._append, self._pending, self._flushed_s = append, 0, 0.0

    def start(self, label: str, total: int | None = None, *, unit: Unit = "things") -> None:
        """As Progress."""
        self._write(start=label, total=total, unit=unit)

    def advance(self, amount: int = 1) -> None:
        """As Progress."""
        self._pending += amount
        if time.monotonic() - self._flushed_s >= FLUSH_EVERY_S:
            self.flush()

    def say(self, text: str) -> None:
        """As Progress."""
        self._write(say=text)

    def flush(self) -> None:
        """Writes the units that are done and not yet written."""
        if self._pending:
            amount, self._pending = self._pending, 0
            self._write(advance=amount)
        self._flushed_s = time.monotonic()

    def _write(self, **event: Any) -> None:
        if "advance" not in event:
            self.flush()
        self._append(json.dumps(event))


class Replay:
    """Repeats on a Progress what a FileProgress has written since the last call."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress, self._offset = path, progress, 0

    def __call__(self) -> None:
        """Catches up."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    break
                self._offset += len(line)
                self._show(json.loads(line))

    def _show(self, event: dict[str, Any]) -> None:
        match event:
            case {"start": label, "total": total, "unit": unit}:
                self._progress.start(label, total, unit=unit)
            case {"advance": amount}:
                self._progress.advance(amount)
            case {"say": text}:
                self._progress.say(text)
