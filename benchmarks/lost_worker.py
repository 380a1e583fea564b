"""Seconds from the SIGKILL of one of Ray's workers to the group's next optimizer step.

    python benchmarks/lost_worker.py [--rounds 3] [--params params.yaml]

Two workers train the sample on this machine; the one that owns the run directory is killed in the middle, once per
round. The last line is the median of the rounds.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sr_core.train import metrics_log

FIRST_STEPS, NEXT_STEP_S = 10, 120.0


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="sr-lost-worker-") as scratch:
        base = Path(scratch)
        overrides = _overrides(base / "0")
        subprocess.run([sys.executable, "-m", "sr_core", "shard", "--params", arguments.params, *overrides], check=True)
        seconds = []
        for round_ in range(arguments.rounds):
            root = base / str(round_)
            if round_:
                root.mkdir()
                (root / "shards").symlink_to(base / "0" / "shards")
            seconds.append(_round(arguments.params, root))
            print(f"round {round_}: {seconds[-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"lost_worker_to_next_step_s: {statistics.median(seconds):.1f}")


def _round(params: str, root: Path) -> float:
    command = [sys.executable, "-m", "flows.launch", "--params", params, *_overrides(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as launch:
        try:
            _wait(launch, lambda: len(_steps(root, 0.0)) >= FIRST_STEPS)
            (run_dir,) = (root / "runs").iterdir()
            owner = json.loads((run_dir / ".lock").read_text())["pid"]
            killed = time.time()
            os.kill(owner, signal.SIGKILL)
            _wait(launch, lambda: _steps(root, killed))
            return _steps(root, killed)[0] - killed
        finally:
            launch.terminate()  # its ranks end with it
            launch.communicate()


def _steps(root: Path, after: float) -> list[float]:
    """When the steps were logged that the run took after that moment."""
    runs = list((root / "runs").glob("*"))
    return [
        event.time
        for run_dir in runs
        for event in metrics_log.read(run_dir)
        if event.time > after and "train/loss" in event.values
    ]


def _wait(launch: "subprocess.Popen[str]", true) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + NEXT_STEP_S
    while not true():
        if launch.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"no step came:\n{launch.communicate()[0] if launch.poll() is not None else ''}")
        time.sleep(0.02)


def _overrides(root: Path) -> list[str]:
    values = {
        "data.root": root,
        "train.steps": 100_000,
        "train.log_every": 1,
        "train.checkpoint_every": 20,
        "train.eval_every": 100_000,
        "launch.num_workers": 2,
        "launch.address": "local",
    }
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--params", default="params.yaml")
    return parser.parse_args()


if __name__ == "__main__":
    main()
