"""metrics.jsonl: one line per event, appended by rank 0, and everything that is known of a run's course.

A tracking server is never called from the loop (with MLflow's down, one log_metric blocks for 246 s): others read
this file. On resume, events after the checkpoint's step are dropped, since training writes them again.
"""

import contextlib
import dataclasses
import json
import os
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sr_core import files

NAME = "metrics.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Named values at a step; `time` in unix seconds."""

    step: int
    time: float
    values: Mapping[str, float]


def read(run_dir: Path) -> Iterator[Event]:
    """The run's events in order; a line that is still being written, or damaged, is left out."""
    try:
        text = (run_dir / NAME).read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines(keepends=True):
        with contextlib.suppress(ValueError, TypeError):
            event = Event(**json.loads(line))
            if line.endswith("\n") and _is_sound(event):
                yield event


def _is_sound(event: Event) -> bool:
    values, numbers = event.values, (int, float)
    if type(event.step) is not int or not isinstance(event.time, numbers) or not isinstance(values, dict):
        return False
    return all(isinstance(value, numbers) for value in values.values())


class MetricsLog:
    """Appends events to a run's metrics.jsonl."""

    def __init__(self, run_dir: Path, *, from_step: int) -> None:
        self._path = run_dir / NAME
        kept = [event for event in read(run_dir) if event.step <= from_step]
        files.write_atomic(self._path, "".join(map(_line, kept)))

    def write(self, step: int, values: Mapping[str, float]) -> Event:
        """One more event, in the file when this returns."""
        event = Event(step=step, time=time.time(), values=values)
        with self._path.open("a") as file:
            file.write(_line(event))
        return event


def _line(event: Event) -> str:
    return json.dumps(dataclasses.asdict(event)) + "\n"


class Usage:
    """This process's use of the machine between two looks."""

    def __init__(self) -> None:
        self._at, self._cpu = time.monotonic(), _cpu_s()

    def look(self) -> dict[str, float]:
        """Resident bytes now, and the CPU time per wall time (1.0: one core) since the last look."""
        at, cpu = time.monotonic(), _cpu_s()
        cores = (cpu - self._cpu) / max(at - self._at, 1e-9)
        self._at, self._cpu = at, cpu
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {"system/rss_bytes": float(pages * os.sysconf("SC_PAGE_SIZE")), "system/cpu_cores": cores}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
