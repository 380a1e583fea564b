"""What saving EDSR's full state (43 M parameters, Adam, EMA: 690 MB) costs the loop, against saving at once.

    python benchmarks/saving.py [--saves 10] [--every 12] [--ours-only] [--directory FOLDER]

Both sides take the project's own optimizer steps on small crops, and save the whole state every few of them, but not
while the save before is still being written, for which the Saver would wait: ours with the loop's Saver, the other
with the same checkpoint written before the next step. The figure is the time from the end
of one optimizer step to the beginning of the next when there is a save between them, which is nothing without one.
Steps that are taken while the thread writes share the cores with it: how much longer they take is printed too. Each
side is a process of its own.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from sr_core.data.patches import Batch
from sr_core.params import DataParams, ModelParams, Params, TrainParams
from sr_core.precision import resolve
from sr_core.train import checkpoint
from sr_core.train.memory import keep_freed_memory
from sr_core.train.saver import Saver
from sr_core.train.state import TrainState, fresh
from sr_core.train.step import RegressionStep
from sr_core.world import World, open_world

KEEP = 2
LIMIT_MS = 400.0


def main() -> None:
    arguments = _arguments()
    figures = {}
    for side in ("in the background",) if arguments.ours_only else ("at once", "in the background"):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_measure, args=(side, arguments, theirs))
        process.start()
        theirs.close()
        figures[side] = ours.recv()
        process.join()
    print(
        f"median between two steps (limit {LIMIT_MS:.0f} ms): "
        + ", ".join(f"{k} {v:.0f} ms" for k, v in figures.items())
    )
    print(f"save_extra_ms: {figures['in the background']:.0f}")


class _Writes:
    """When checkpoints are being written, and how many at a time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = self.most = 0
        self._lock, self._save = threading.Lock(), checkpoint.save
        checkpoint.save = self._watched

    def _watched(self, *given, **named):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        begin = time.perf_counter()
        try:
            return self._save(*given, **named)
        finally:
            self.seconds.append(time.perf_counter() - begin)
            with self._lock:
                self.now -= 1


def _measure(side: str, arguments: argparse.Namespace, to) -> None:
    torch.set_num_threads(arguments.threads)
    with open_world(timeout_s=300) as world, tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        if world.device.type == "cpu":
            keep_freed_memory()
        state, steps = _job(world, arguments.crop)
        writes = _Writes()
        directory, calls = Path(scratch) / "checkpoints", []
        plain, busy = [], []  # seconds that a step takes, while nothing or something is written
        with Saver(directory, keep=KEEP) as saver:
            saver.prepare("checkpoint", state.tensors())
            since = 0
            while len(calls) < arguments.saves or writes.now:
                saves = since >= arguments.every and not writes.now and len(calls) < arguments.saves
                begin = time.perf_counter()
                if saves and side == "at once":
                    checkpoint.save(directory, state.tensors(), _manifest(state), keep=KEEP)
                elif saves:
                    saver.save(state.tensors(), _manifest(state))
                if saves:
                    calls.append(time.perf_counter() - begin)
                    print(f"  save {len(calls)} {side}: {1e3 * calls[-1]:.0f} ms between two steps", flush=True)
                begin, was_writing = time.perf_counter(), bool(writes.now)
                next(steps)
                (busy if was_writing or writes.now else plain).append(time.perf_counter() - begin)
                since = 0 if saves else since + 1
        _tell(side, state, plain[1:], busy, calls, writes)
        to.send(1e3 * statistics.median(calls))


def _job(world: World, crop: int) -> tuple[TrainState, Iterator[None]]:
    params = Params(
        data=DataParams(scale=4, crop=crop),
        model=ModelParams(name="edsr", preset="full"),
        train=TrainParams(batch=2, ema_decay=0.999),
    )
    state = fresh(params, world)
    step = RegressionStep(state, params.train, world, resolve(params.train.precision, world.device))
    shapes = [(2, side, side, 3) for side in (crop, 4 * crop)]
    lr, hr = (torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2) for shape in shapes)
    batch = Batch(lr=lr, hr=hr, symmetry=torch.arange(2, dtype=torch.uint8))

    def steps() -> Iterator[None]:
        while True:
            step(batch)
            if world.device.type == "cuda":
                torch.cuda.synchronize()
            yield

    return state, steps()


def _manifest(state: TrainState) -> checkpoint.Manifest:
    return checkpoint.Manifest(
        step=state.step,
        precision="bf16",
        num_threads=torch.get_num_threads(),
        world_size=1,
        torch_version=torch.__version__,
        best_psnr=None,
        best_step=None,
    )


def _tell(side, state, plain, busy, calls, writes) -> None:
    tensors = state.tensors().values()
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    num = sum(parameter.numel() for parameter in state.network.parameters())
    step = statistics.median(plain)
    extra = sum(busy) - step * len(busy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"saving {side}: {num:,} parameters, {num_bytes / 1e6:.0f} MB, {len(calls)} saves")
    print(f"  between two steps: median {1e3 * statistics.median(calls):.0f} ms, most {1e3 * max(calls):.0f} ms")
    print(f"  writing takes {statistics.median(writes.seconds):.2f} s; most saves in flight: {writes.most}")
    if busy:
        during = f"{statistics.median(busy):.2f} s while something is written ({len(busy) / len(calls):.1f} per save)"
        print(f"  a step: {step:.2f} s, {during}; {extra / len(calls):.2f} s more per save")
    print(f"  peak memory: {peak:.0f} MB", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=10)
    parser.add_argument("--every", type=int, default=12, help="steps from save to save")
    parser.add_argument("--crop", type=int, default=16, help="side of the 2 LR crops of a step: how long it takes")
    parser.add_argument("--ours-only", action="store_true", help="leave out saving at once")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--directory", help="where to write; by default the system's folder for temporary files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
