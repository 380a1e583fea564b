"""What a person sees while work goes on: bars on a terminal, plain lines everywhere else.

A task counts things (images, shards), or bytes: those are shown with their speed and the time left.
"""

import contextlib
import functools
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TextIO, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from sr_core.errors import ConfigError

LINE_EVERY_S = 5.0  # a plain line of progress at most this often
_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS = {**_DECIMAL, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

Unit: TypeAlias = Literal["things", "bytes"]


class Progress(Protocol):
    """Receives one task after another."""

    def start(self, label: str, total: int | None = None, *, unit: Unit = "things") -> None:
        """Begins the task `label` of `total` units (None: unknown), ending the one before."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more units of the task are done; fewer than 0 where some have to be done again."""

    def say(self, text: str) -> None:
        """One line worth reading."""


class _Quiet:
    def start(self, label: str, total: int | None = None, *, unit: Unit = "things") -> None:
        pass

    def advance(self, amount: int = 1) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class _Lines:
    """Plain lines: one when a task starts, one when it is done, and one every few seconds between."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._label, self._done = say, "", 0
        self._total: int | None = None
        self._unit: Unit = "things"
        self._start_s = self._next_s = 0.0

    def start(self, label: str, total: int | None = None, *, unit: Unit = "things") -> None:
        self._label, self._total, self._done, self._unit = label, total, 0, unit
        self._start_s = time.monotonic()
        self._next_s = self._start_s + LINE_EVERY_S
        self.say(label if total is None else f"{label}: {_amount(total, unit)}")

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now >= self._next_s and self._done != self._total:
            self._next_s = now + LINE_EVERY_S
            of_total = f"/{_amount(self._total, self._unit)}" if self._total else ""
            self.say(f"{self._label}: {_amount(self._done, self._unit)}{of_total}{self._pace(now - self._start_s)}")

    def _pace(self, seconds: float) -> str:
        speed = self._done / seconds if seconds > 0 else 0.0
        if self._unit != "bytes" or speed <= 0:
            return ""
        left = "" if self._total is None else f", {duration_text((self._total - self._done) / speed)} left"
        return f", {size_text(speed)}/s{left}"

    def say(self, text: str) -> None:
        self._say(text)


class _Bars:
    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None = None, *, unit: Unit = "things") -> None:
        if self._task is not None:
            self._bars.stop_task(self._task)
        self._task = self._bars.add_task(label, total=total, unit=unit)

    def advance(self, amount: int = 1) -> None:
        if self._task is not None:
            self._bars.advance(self._task, amount)

    def say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


class _Amount(ProgressColumn):
    """How much of the task is done, and of bytes how fast they come."""

    def __init__(self) -> None:
        super().__init__()
        self._things = MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("unit") != "bytes":
            return self._things.render(task)
        of_total = "" if task.total is None else f"/{size_text(task.total)}"
        speed = task.finished_speed or task.speed
        return Text(f"{size_text(task.completed)}{of_total}" + (f" {size_text(speed)}/s" if speed else ""))


QUIET: Progress = _Quiet()


def size_text(num_bytes: float) -> str:
    """`num_bytes` in decimal units with three digits: 3.53 GB."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(size) < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 99.95 else f"{size:.3g} {unit}"


def parse_bytes(text: str, *, name: str) -> int:
    """The number of bytes in `512M`, `2G`, `1.5GB` (as of `size_text`), `800MiB` or `1000000`; `name` is the option.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]I?|)B?", text.strip().upper())
    num_bytes = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if num_bytes < 1:
        raise ConfigError(f"{name}: is {text!r}, expected a number of bytes such as 512M or 2G")
    return num_bytes


def duration_text(seconds: float) -> str:
    """`seconds` in the largest two units: 1 h 20 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _amount(number: int, unit: Unit) -> str:
    return size_text(number) if unit == "bytes" else str(number)


def lines(say: Callable[[str], None]) -> Progress:
    """Plain lines, each given to `say`."""
    return _Lines(say)


@contextlib.contextmanager
def console(stream: TextIO | None = None) -> Iterator[Progress]:
    """Bars where `stream` (None: standard output) is a terminal, plain lines otherwise."""
    stream = stream or sys.stdout
    if not stream.isatty():
        yield lines(functools.partial(print, flush=True, file=stream))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(file=stream)) as bars:
        yield _Bars(bars)
