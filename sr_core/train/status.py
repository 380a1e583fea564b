"""What is known of a run, read from its directory while training goes on there, after it, or on another host.

Nothing here asks the process that trains or takes its lock. What is damaged or absent is left out.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from sr_core import files
from sr_core.errors import CheckpointError
from sr_core.train import history, metrics_log
from sr_core.train.checkpoint import CHECKPOINTS
from sr_core.train.run import PARAMS

Curve = tuple[tuple[int, float], ...]
LOCK = ".lock"  # files.lock_directory says in it who has it
SILENT_S = 300.0  # on another host nobody can be asked whether a process lives


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A checkpoint: its step, when it was written (unix seconds), its size."""

    step: int
    time: float
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A run at a moment. Times in unix seconds; PSNR in dB."""

    run_dir: Path
    task: str
    steps: int
    step: int
    running: bool
    state: str  # in words: running as …, finished, stopped by …, failed: …, died: …
    latest: Mapping[str, float]  # the last value of each name in the log
    last_event: float | None
    loss: Curve
    psnr: Curve
    best: tuple[int, float] | None
    saved: Saved | None
    launches: tuple[history.Launch, ...]

    @property
    def share(self) -> float:
        """Of the steps, how many are done: 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0

    @property
    def left_s(self) -> float | None:
        """How long the steps that are left take at the last window's rate; None where that is not known."""
        step_s = self.latest.get("train/step_s")
        return None if step_s is None else (self.steps - self.step) * step_s

    @property
    def restarts(self) -> int:
        """How many groups of ranks there were after the first."""
        return max(0, len(self.launches) - 1)


def look(run_dir: Path) -> Status:
    """What stands in `run_dir` now.

    Raises:
        CheckpointError: `run_dir` is not a run directory.
    """
    task, steps = _started(run_dir)
    events = list(metrics_log.read(run_dir))
    launches = tuple(history.read(run_dir))
    saved = _last_saved(run_dir / CHECKPOINTS)
    last_event = events[-1].time if events else None
    last = launches[-1] if launches else None
    known = [events[-1].step if events else 0, saved.step if saved else 0, (last.step or last.from_step) if last else 0]
    step, owner = max(known), _owner(run_dir)
    running, state = _state(owner, last, finished=step >= steps, last_event=last_event)
    latest = {name: value for event in events for name, value in event.values.items()}
    psnr = _curve(events, "valid/psnr")
    return Status(
        run_dir=run_dir,
        task=task,
        steps=steps,
        step=step,
        running=running,
        state=state,
        latest=latest,
        last_event=last_event,
        loss=_curve(events, "train/loss"),
        psnr=psnr,
        best=max(psnr, key=lambda point: point[1], default=None),
        saved=saved,
        launches=launches,
    )


def _started(run_dir: Path) -> tuple[str, int]:
    try:
        params = json.loads((run_dir / PARAMS).read_text())["params"]
        data = params["data"]
        return f"{params['model']['name']}-x{data['scale']}-{data['degradation']}", int(params["train"]["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{run_dir}: is not a run directory, expected {PARAMS} in it; start one with `python -m sr_core train`"
        ) from None


def _curve(events: list[metrics_log.Event], name: str) -> Curve:
    return tuple((event.step, event.values[name]) for event in events if name in event.values)


def _last_saved(directory: Path) -> Saved | None:
    for path in sorted(directory.glob("step-*"), reverse=True):
        with contextlib.suppress(OSError, ValueError):  # it may be deleted meanwhile
            size = sum(file.stat().st_size for file in path.iterdir())
            return Saved(step=int(path.name.removeprefix("step-")), time=path.stat().st_mtime, bytes=size)
    return None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Owner:
    """Who wrote itself into the lock last, and when."""

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host}"


def _owner(run_dir: Path) -> _Owner | None:
    path = run_dir / LOCK
    try:
        raw = json.loads(path.read_text())
        return _Owner(host=str(raw["host"]), pid=int(raw["pid"]), since=path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _state(
    owner: _Owner | None, last: history.Launch | None, *, finished: bool, last_event: float | None
) -> tuple[bool, str]:
    """Whether training goes on, and in words."""
    if last and last.how is not None and last.ended is not None and (owner is None or last.ended >= owner.since):
        known = last.how == history.FINISHED or last.how.startswith(history.STOPPED)
        return False, last.how if known else f"failed: {last.how}"
    if owner is None:
        return False, "finished" if finished else "not running"
    if owner.host != socket.gethostname():
        heard = max(owner.since, last_event or 0.0, last.time if last else 0.0)
        if time.time() - heard > SILENT_S:
            return False, f"silent: {owner} does not write any more"
        return True, f"running, as far as this host can see, as {owner}"
    if _is_alive(owner):
        return True, f"running as {owner}"
    if finished:
        return False, "finished"
    return False, f"died: {owner} was killed or lost; the same command goes on from the last checkpoint"


def _is_alive(owner: _Owner) -> bool:
    """Whether the process of the lock runs on this host; not another that has its id since."""
    if not files.is_alive(owner.pid):
        return False
    with contextlib.suppress(OSError, ValueError, StopIteration):
        ticks = int(Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
        return booted + ticks / os.sysconf("SC_CLK_TCK") < owner.since + 2  # btime is in whole seconds
    return True
