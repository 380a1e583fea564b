"""SIGKILL at every fault point under every launcher, and whether the run ends as if nothing had happened.

    python benchmarks/kills.py                                   13 points x 3 launchers: some 8 minutes
    python benchmarks/kills.py --launchers one --points backward,save_commit --rank 0

A job of seconds trains undisturbed once per launcher, then once per point with SR_FAULT set (sr_core/faults.py). The
process that passes the point kills itself there, exactly once: the file of SR_FAULT_ONCE says that it did. One process
and torchrun are started again by the same command; Ray starts the lost group again within the launch. A case has
recovered if the point was reached, every command but the killed one exits with 0, the last checkpoint's tensors have
the undisturbed run's digest, and so has the published model.
"""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sr_core import files
from sr_core.data.images import write_png
from sr_core.faults import POINTS
from sr_core.train import checkpoint, run

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
LAUNCHERS = {
    "one": ["sr_core", "train"],
    "torchrun": [*TORCHRUN, "sr_core", "train"],
    "ray": ["flows.launch"],
}
# in the middle of the run, behind a first checkpoint, where a point is passed more than once
PASSING = {"forward": 8, "backward": 8, "optimizer": 8, "evaluation": 3} | dict.fromkeys(
    (name for name in POINTS if name.startswith("save_")), 2
)
STEPS = 12
JOB = f"""
seed: 1
data: {{source: folder, root: ROOT, folder: ROOT/photographs, scale: 2, crop: 8, valid_every: 2, num_writers: 1}}
model: {{name: edsr, preset: small, options: {{num_blocks: 1, num_features: 8}}}}
train: {{steps: {STEPS}, batch: 5, lr: 1.0e-3, lr_milestones: [5, 9], ema_decay: 0.9, num_threads: 1, log_every: 3,
  eval_every: 4, eval_images: 3, checkpoint_every: 3, collective_timeout_s: 60}}
launch: {{num_workers: 2, address: local}}
"""
LIMIT_S = 300  # of one command, which is killed then


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """What a run has left: digests of the last checkpoint's tensors and of the published weights."""

    step: int
    state: str
    model: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a kill has led to."""

    reached: bool
    failed: str  # what a command said that should have ended well; empty: nothing
    end: End | None
    seconds: float  # for the killed launch and the one after it

    def recovered(self, whole: End) -> bool:
        """Whether it was killed where it should be, and ended as the undisturbed run did."""
        return self.reached and not self.failed and self.end == whole


class Job:
    """Photographs and shards below `base`, and runs of the same parameters on them, each below a root of its own."""

    def __init__(self, base: Path) -> None:
        self._base = base
        for number, side in enumerate(range(40, 64, 4)):
            pixels = np.random.default_rng(number).integers(0, 256, (side, 100 - side, 3), dtype=np.uint8)
            write_png(base / "photographs" / f"{number}.png", pixels)
        self._params = base / "params.yaml"
        self._params.write_text(JOB.replace("ROOT", str(base)))
        done = self._python(["sr_core", "shard"], base)
        if done.returncode != 0:
            sys.exit(done.stdout)

    def whole(self, launcher: str) -> End:
        """How the undisturbed run ends."""
        root = self._fresh(f"{launcher}-whole")
        done = self._python(LAUNCHERS[launcher], root)
        if done.returncode != 0:
            sys.exit(f"{launcher}: the undisturbed run failed:\n{done.stdout}")
        return _end(root)

    def killed(self, launcher: str, point: str, *, rank: int = 0) -> Outcome:
        """Kills `rank` at `point` and lets the run go on."""
        begin_s = time.monotonic()
        root = self._fresh(f"{launcher}-{point}-{rank}")
        fault = {"SR_FAULT": f"{point}@{PASSING.get(point, 1)}#{rank}", "SR_FAULT_ONCE": str(root / "killed")}
        done = self._python(LAUNCHERS[launcher], root, **fault)
        reached = (root / "killed").exists()
        if launcher == "one":
            reached = reached and done.returncode == -signal.SIGKILL
        if launcher != "ray":
            reached = reached and done.returncode != 0
            done = self._python(LAUNCHERS[launcher], root, **fault)
        return Outcome(
            reached=reached,
            failed=done.stdout if done.returncode != 0 else "",
            end=_end(root) if done.returncode == 0 else None,
            seconds=time.monotonic() - begin_s,
        )

    def _fresh(self, name: str) -> Path:
        root = self._base / name
        root.mkdir()
        (root / "shards").symlink_to(self._base / "shards")
        return root

    def _python(self, command: Sequence[str], root: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", *command, "--params", str(self._params), "--set", f"data.root={root}"]
        with subprocess.Popen(
            words,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            late = threading.Timer(LIMIT_S, process.kill)
            late.start()
            said, _ = process.communicate()
            late.cancel()
        return subprocess.CompletedProcess(words, process.returncode, said)


def _end(root: Path) -> End:
    (run_dir,) = (root / "runs").iterdir()
    manifest = checkpoint.newest(run_dir / run.CHECKPOINTS).manifest
    (weights,) = (root / "models").glob("*/weights.safetensors")
    assert manifest is not None
    return End(step=manifest.step, state=manifest.files[checkpoint.STATE].sha256, model=files.record_of(weights).sha256)


def main() -> int:
    arguments = _arguments()
    num_recovered = num_cases = 0
    with tempfile.TemporaryDirectory(prefix="sr-kills-") as base:
        job = Job(Path(base))
        for launcher in arguments.launchers.split(","):
            whole = job.whole(launcher)
            for point in arguments.points.split(","):
                outcome = job.killed(launcher, point, rank=arguments.rank if launcher != "one" else 0)
                recovered = outcome.recovered(whole)
                num_cases, num_recovered = num_cases + 1, num_recovered + recovered
                reached = "reached" if outcome.reached else "NOT REACHED"
                ended = "the same weights" if recovered else "NOT RECOVERED"
                print(f"{launcher:9} {point:14} {reached:12} {ended:17} {outcome.seconds:6.1f} s", flush=True)
                if not recovered:
                    print(outcome.failed or f"expected {whole}, found {outcome.end}")
    print(f"recovered: {num_recovered}/{num_cases}")
    return int(num_recovered != num_cases)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launchers", default=",".join(LAUNCHERS), help="separated by commas")
    parser.add_argument("--points", default=",".join(POINTS), help="separated by commas")
    parser.add_argument("--rank", type=int, default=0, help="which of two ranks is killed; only rank 0 saves")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
