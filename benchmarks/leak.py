"""Whether a long run grows: resident memory and open files over many steps of the real loop.

    python benchmarks/leak.py [--steps 10000]

A child process trains a tiny network on the sample's photographs, one process, as `python -m sr_core train` does, with
a log line every 20 steps, a validation every 250, a checkpoint every 100 and threads that make batches: what could
leak happens as often as in a run that is many times as long. Every 50 steps the parent is told the child's resident
memory and how many files it has open. The slope is that of the least-squares line through the second half; the first
is left to caches and the allocator. Last line: `rss_mb_per_1000_steps: <figure>` (limit: below 1).
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sr_core.data.patches import open_dataset
from sr_core.data.shards import build
from sr_core.params import DataParams, ModelParams, Params, TrainParams
from sr_core.progress import QUIET, lines
from sr_core.train.loop import train
from sr_core.world import World

EVERY = 50  # steps between two samples
LIMIT = 1.0  # MB per 1,000 steps


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What the child is like after so many steps."""

    step: int
    rss_bytes: int
    num_files: int


def main() -> None:
    """Prints how memory went, whether files stay open, and the slope."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run(arguments.child, arguments.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--steps", str(arguments.steps), "--child", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            samples = [sample_of(line) for line in child.stdout if line.startswith("sample ")]
        if child.returncode:
            sys.exit(child.returncode)
    report(samples)


def run(root: Path, num_steps: int) -> None:
    """Trains and prints samples."""
    data = DataParams(root=str(root), scale=2, crop=16)
    build(data, progress=QUIET)
    params = Params(
        data=data,
        model=ModelParams(name="edsr", preset="small", options={"num_blocks": 1, "num_features": 8}),
        train=TrainParams(
            steps=num_steps,
            batch=2,
            loader_threads=2,
            num_threads=1,
            log_every=20,
            eval_every=250,
            eval_images=1,
            checkpoint_every=100,
            max_skipped=1,
        ),
    )
    steps = iter(range(num_steps))

    def look() -> bool:
        if (step := next(steps)) % EVERY == EVERY // 2:  # halfway between two checkpoints, which another thread writes
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(list(Path("/proc/self/fd").iterdir()))
            print(f"sample {step} {pages * os.sysconf('SC_PAGE_SIZE')} {files}", flush=True)
        return False

    dataset = open_dataset(data, verify=True)
    # what is said goes the way of a terminal's lines, to where nobody looks
    with Path(os.devnull).open("w") as nowhere:
        progress = lines(lambda text: print(text, file=nowhere))
        train(params, World(), root / "run", dataset=dataset, progress=progress, should_stop=look)


def sample_of(line: str) -> Sample:
    """The sample that a line of the child tells."""
    step, rss_bytes, num_files = (int(word) for word in line.split()[1:])
    return Sample(step=step, rss_bytes=rss_bytes, num_files=num_files)


def report(samples: list[Sample]) -> None:
    """Prints every tenth of the run, the range of open files, and the slope last."""
    for sample in samples[:: max(1, len(samples) // 10)]:
        print(f"step {sample.step:6d}  {sample.rss_bytes / 1e6:7.1f} MB  {sample.num_files} files")
    second = samples[len(samples) // 2 :]
    # the least of every ten: a checkpoint that is being written just then has a file open
    numbers = {min(each.num_files for each in second[i : i + 10]) for i in range(0, len(second), 10)}
    constant = f"constant, {min(numbers)}" if len(numbers) == 1 else f"NOT constant, {min(numbers)} to {max(numbers)}"
    print(f"open files in the second half: {constant}")
    slope = np.polyfit([sample.step for sample in second], [sample.rss_bytes for sample in second], 1)[0]
    print(f"rss_mb_per_1000_steps: {slope * 1000 / 1e6:.3f}")
    if slope * 1000 / 1e6 >= LIMIT or len(numbers) > 1:
        sys.exit(f"expected less than {LIMIT:g} MB per 1,000 steps, and as many open files throughout")


if __name__ == "__main__":
    main()
