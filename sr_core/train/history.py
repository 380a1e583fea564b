"""launches.jsonl: one line when a group of ranks starts in a run directory, and one when it ends.

A start without an end was killed or lost. Rank 0 appends; each line is in the file, flushed to the disk, when the call
returns, and a line that a crash tore is left out by whoever reads. That a line cannot be written (a full disk) is
said, and never ends a training or hides the error that ended it.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sr_core.errors import SrError
from sr_core.world import World

NAME = "launches.jsonl"
FINISHED, STOPPED = "finished", "stopped"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A group of ranks: where it began and how it ended. Times in unix seconds."""

    id: str
    time: float
    host: str  # of rank 0, as is `pid`
    pid: int
    ranks: int
    from_step: int
    rejected: tuple[str, ...] = ()  # a line for each checkpoint that was damaged
    ended: float | None = None  # None, as the next two: it goes on, was killed, or was lost
    step: int | None = None
    how: str | None = None  # FINISHED, STOPPED (perhaps with by what), or the error's sentence


def read(run_dir: Path) -> list[Launch]:
    """The run's launches in the order of their starts; what is damaged is left out."""
    launches: dict[str, Launch] = {}
    for line in _lines(run_dir / NAME):
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            raw = json.loads(line)
            if raw["event"] == "start":
                launches[raw["id"]] = _started(raw)
            elif raw["id"] in launches:
                ended, step, how = float(raw["time"]), int(raw["step"]), str(raw["how"])
                launches[raw["id"]] = dataclasses.replace(launches[raw["id"]], ended=ended, step=step, how=how)
    return list(launches.values())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _started(raw: dict[str, Any]) -> Launch:
    return Launch(
        id=str(raw["id"]),
        time=float(raw["time"]),
        host=str(raw["host"]),
        pid=int(raw["pid"]),
        ranks=int(raw["ranks"]),
        from_step=int(raw["from_step"]),
        rejected=tuple(map(str, raw["rejected"])),
    )


class Record:
    """What the group of ranks that writes it is asked for at its end."""

    def __init__(self, step: Callable[[], int]) -> None:
        self.step, self.how = step, FINISHED

    def stopped(self, by: str | None = None) -> None:
        """It was asked to stop, by a signal of this name where rank 0 knows."""
        self.how = f"{STOPPED} by {by}" if by else STOPPED


@contextlib.contextmanager
def recorded(
    run_dir: Path,
    world: World,
    *,
    from_step: int,
    rejected: tuple[str, ...],
    step: Callable[[], int],
    say: Callable[[str], None],
) -> Iterator[Record]:
    """Writes down that this group of ranks starts, and, on leaving, at which `step()` and how it ended."""
    record = Record(step)
    now, host, pid = time.time(), socket.gethostname(), os.getpid()
    launch = {"event": "start", "id": f"{host}-{pid}-{now:.3f}", "time": now, "host": host, "pid": pid}
    launch |= {"ranks": world.size, "from_step": from_step, "rejected": rejected}
    if world.is_first:
        _append(run_dir / NAME, launch, say)
    try:
        yield record
    except BaseException as error:
        record.how = _sentence(error)
        raise
    finally:
        if world.is_first:
            end = {"event": "end", "id": launch["id"], "time": time.time(), "step": step(), "how": record.how}
            _append(run_dir / NAME, end, say)


def _sentence(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, SrError):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _append(path: Path, line: dict[str, Any], say: Callable[[str], None]) -> None:
    try:
        with path.open("ab") as file:
            torn = file.tell() and not path.read_bytes().endswith(b"\n")  # by a crash: its line stays alone
            file.write(b"\n" * bool(torn) + json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        say(f"{path}: cannot be written to ({error.strerror or error}); this launch is not in the run's history")
