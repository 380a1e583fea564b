"""A training as two Prefect artifacts of its task run: how far it has come, and a table of its figures.

They are updated beside the training by a thread. Whatever Prefect's server does, down or hanging, is said once and
costs training nothing.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flows import running
from flows.follow import Outcome, following
from sr_core.progress import duration_text, size_text
from sr_core.train import metrics_log, status
from sr_core.train.run import PARAMS
from sr_core.train.status import Status
from sr_core.train.status_page import how_ended

UPDATE_EVERY_S = 10.0


@contextlib.contextmanager
def watching(
    run_dir: Path, task: str, *, say: Callable[[str], None] = print, every_s: float = UPDATE_EVERY_S
) -> Iterator[None]:
    """For use in a task: keeps the artifacts `progress-<task>` and `training-<task>` of the run in `run_dir`."""
    shown = running.Artifacts(key(task))
    failed = False

    def fail(reason: object) -> None:
        nonlocal failed
        if not failed:
            say(f"Prefect's server does not take the artifacts on {task} ({reason}); training goes on")
        failed = True

    def update(_: Outcome) -> bool:
        if not (run_dir / PARAMS).exists():
            return False
        try:
            now = status.look(run_dir)
            shown.update(100 * now.share, table(now), f"{task} in {run_dir}: {now.state}")
        except Exception as error:  # whatever it is, the training beside is worth more
            fail(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            return False
        return True

    late = "no answer in time"
    with following(run_dir / metrics_log.NAME, update, every_s=every_s, late=lambda: fail(late)):
        yield


def key(name: str) -> str:
    """`name` with nothing but what Prefect takes in an artifact's key: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def table(now: Status) -> list[dict[str, str]]:
    """The figures of a run, one a row."""
    latest, rows = now.latest, {"step": f"{now.step:,} of {now.steps:,}", "state": now.state}
    if "train/step_s" in latest:
        rows["rate"] = f"{latest.get('train/crops_per_s', 0.0):.1f} crops/s"
        rows["time left"] = duration_text(now.left_s or 0.0)
    if "train/loss" in latest:
        rows["loss"] = f"{latest['train/loss']:.5g}"
        rows["learning rate"] = f"{latest.get('train/lr', 0.0):.3g}"
    if now.best is not None:
        rows["validation PSNR"] = f"{latest['valid/psnr']:.3f} dB"
        rows["best"] = f"{now.best[1]:.3f} dB at step {now.best[0]:,}"
    if now.saved is not None:
        ago = duration_text(time.time() - now.saved.time)
        rows["last checkpoint"] = f"step {now.saved.step:,}, {ago} ago, {size_text(now.saved.bytes)}"
    if latest.get("train/skipped"):
        rows["skipped steps"] = f"{latest['train/skipped']:.0f}"
    rows["restarts"] = str(now.restarts)
    for launch in now.launches[-5:]:
        began = time.strftime("%m-%d %H:%M:%S", time.localtime(launch.time))
        rows[f"launch {began}"] = f"{launch.ranks} ranks from step {launch.from_step:,}: {how_ended(launch, now)}"
    return [{"figure": name, "value": value} for name, value in rows.items()]
