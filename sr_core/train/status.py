"""How far a run has come, read from its directory while it runs or after."""

import json
import time
from pathlib import Path

from sr_core.errors import CheckpointError
from sr_core.train import metrics_log
from sr_core.train.loop import describe
from sr_core.train.run import CHECKPOINTS, PARAMS


def show(run_dir: Path) -> str:
    """A few lines for a person.

    Raises:
        CheckpointError: `run_dir` is not a run directory.
    """
    try:
        steps = json.loads((run_dir / PARAMS).read_text())["params"]["train"]["steps"]
    except (OSError, ValueError, KeyError):
        raise CheckpointError(
            f"{run_dir}: is not a run directory, expected {PARAMS} in it; start one with `python -m sr_core train`"
        ) from None
    events = list(metrics_log.read(run_dir))
    lines = [f"run {run_dir}"]
    latest = {kind: event for event in events for kind in ("train/loss", "valid/psnr") if kind in event.values}
    lines += [f"  {describe(event, steps)}" for event in latest.values()]
    if events:
        lines.append(f"  last event {time.time() - events[-1].time:.0f} s ago")
    saved = sorted(path.name for path in (run_dir / CHECKPOINTS).glob("step-*"))
    lines.append(f"  checkpoints: {', '.join(saved) or 'none yet'}")
    return "\n".join(lines)
