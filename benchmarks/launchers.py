"""Steady-state step time under Ray Train against torchrun: two workers, the same job, alternating rounds.

    python benchmarks/launchers.py [--steps 300] [--rounds 3] [--params params.yaml]

Both run the same `train()` on the same shards. Each round's figure is the median of the run's own `train/step_s`
without the first window; the ratio is that of the medians over the rounds. 1.00 means that Ray costs nothing.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sr_core.train import metrics_log

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sr_core", "train"],
    "ray": ["flows.launch"],
}


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="sr-launchers-") as scratch:
        base = Path(scratch)
        _python(["sr_core", "shard", "--params", arguments.params, "--set", f"data.root={base}"])
        times: dict[str, list[float]] = {name: [] for name in LAUNCHERS}
        for round_ in range(arguments.rounds):
            for name, command in LAUNCHERS.items():
                root = base / f"{name}-{round_}"
                root.mkdir()
                (root / "shards").symlink_to(base / "shards")
                _python([*command, *_overrides(arguments, root)])
                times[name].append(_step_s(root))
            print(
                f"round {round_}: " + ", ".join(f"{name} {1e3 * s[-1]:.2f} ms" for name, s in times.items()), flush=True
            )
    print(f"ray_over_torchrun_step_time: {statistics.median(times['ray']) / statistics.median(times['torchrun']):.3f}")


def _overrides(arguments: argparse.Namespace, root: Path) -> list[str]:
    values = {
        "data.root": root,
        "train.steps": arguments.steps,
        "train.log_every": 25,
        "train.checkpoint_every": arguments.steps,
        "train.eval_every": arguments.steps,
        "launch.num_workers": 2,
    }
    settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return ["--params", arguments.params, *settings]


def _python(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _step_s(root: Path) -> float:
    (run_dir,) = (root / "runs").iterdir()
    events = [event.values for event in metrics_log.read(run_dir) if "train/step_s" in event.values]
    return statistics.median(values["train/step_s"] for values in events[1:])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--params", default="params.yaml")
    return parser.parse_args()


if __name__ == "__main__":
    main()
