"""What a person sees while work goes on: bars on a terminal, plain lines everywhere else."""

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_S = 5.0  # a plain line of progress at most this often


class Progress(Protocol):
    """Receives one task after another."""

    def start(self, label: str, total: int | None = None) -> None:
        """Begins the task `label` of `total` units (None: unknown), ending the one before."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more units of the task are done."""

    def say(self, text: str) -> None:
        """One line worth reading."""


class _Quiet:
    def start(self, label: str, total: int | None = None) -> None:
        pass

    def advance(self, amount: int = 1) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class _Lines:
    """Plain lines: one when a task starts, one when it is done, and one every few seconds between."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._label, self._done, self._next_s = say, "", 0, 0.0
        self._total: int | None = None

    def start(self, label: str, total: int | None = None) -> None:
        self._label, self._total, self._done = label, total, 0
        self._next_s = time.monotonic() + LINE_EVERY_S
        self.say(label if total is None else f"{label}: {total}")

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now >= self._next_s and self._done != self._total:
            self._next_s = now + LINE_EVERY_S
            self.say(f"{self._label}: {self._done}" + (f"/{self._total}" if self._total else ""))

    def say(self, text: str) -> None:
        self._say(text)


class _Bars:
    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None = None) -> None:
        if self._task is not None:
            self._bars.stop_task(self._task)
        self._task = self._bars.add_task(label, total=total)

    def advance(self, amount: int = 1) -> None:
        if self._task is not None:
            self._bars.advance(self._task, amount)

    def say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


QUIET: Progress = _Quiet()


def lines(say: Callable[[str], None]) -> Progress:
    """Plain lines, each given to `say`."""
    return _Lines(say)


@contextlib.contextmanager
def console() -> Iterator[Progress]:
    """Bars where standard output is a terminal, plain lines otherwise."""
    if not sys.stdout.isatty():
        yield lines(functools.partial(print, flush=True, file=sys.stdout))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(file=sys.stdout)) as bars:
        yield _Bars(bars)
