"""What each of benchmarks/scale.py's workers measures; rank 0 writes the figures as JSON.

    torchrun --nproc-per-node 2 benchmarks/scale_rank.py RESULT [--root FOLDER] [--steps 5]

One torch thread per worker, whatever their number. Times are medians over steps, in seconds.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from sr_core import files
from sr_core.data.patches import Batch, batches, open_dataset
from sr_core.params import DataParams, ModelParams, Params, TrainParams
from sr_core.precision import resolve
from sr_core.train import checkpoint
from sr_core.train.memory import keep_freed_memory
from sr_core.train.saver import Saver
from sr_core.train.state import TrainState, fresh
from sr_core.train.step import RegressionStep
from sr_core.world import World, open_world

SCALE, CROP, BATCH = 4, 48, 16
CROPS = {"baseline": (4, 8, 16), "full": (1, 2)}  # per worker
SIZES = (4_096, 65_536, 1_048_576, 6_291_456, 43_089_923 * 4)  # bytes; the last are EDSR-full's gradients
LOADER_STEPS = 200
TIMEOUT_S = 300.0
Figures = dict[str, object]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TimedWorld(World):
    """A world that notes how long its sums took."""

    sums_s: list[float] = dataclasses.field(default_factory=list)

    def sum_in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        begin_s = time.perf_counter()
        result = World.sum_in_place(self, tensor)
        self.sums_s.append(time.perf_counter() - begin_s)
        return result


class TimedStep(RegressionStep):
    """A step that notes how long its update took."""

    update_s = 0.0

    def _update(self) -> None:
        begin_s = time.perf_counter()
        super()._update()
        self.update_s = time.perf_counter() - begin_s


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    keep_freed_memory()
    with open_world(timeout_s=TIMEOUT_S, use_gpu=False) as opened:
        world = TimedWorld(rank=opened.rank, size=opened.size, local_rank=opened.local_rank)
        figures: Figures = {"steps": [], "all_reduce": []}
        for preset, all_crops in CROPS.items():
            state, measured = _steps(world, preset, all_crops, arguments.steps)
            figures["steps"] = [*figures["steps"], *measured]  # type: ignore[misc]
        if world.size > 1:
            figures["all_reduce"] = [{"bytes": size, "seconds": _all_reduce_s(size)} for size in SIZES]
        else:
            figures["loader_crop_s"] = _loader_crop_s(arguments.root)
            figures["checkpoint"] = _checkpoint(state)
        if world.is_first:
            files.write_atomic(arguments.result, files.to_json(figures))


def _steps(
    world: TimedWorld, preset: str, all_crops: tuple[int, ...], num: int
) -> tuple[TrainState, list[dict[str, object]]]:
    """The state that was trained, and a step's parts for each number of crops per worker."""
    found = []
    model = ModelParams(name="edsr", preset=preset)
    for crops in all_crops:
        train = TrainParams(batch=crops * world.size)
        params = Params(data=DataParams(scale=SCALE, crop=CROP), model=model, train=train)
        state = fresh(params, world)
        step = TimedStep(state, train, world, resolve("auto", world.device))
        batch = _batch(crops)
        times = [_step(step, batch, world) for _ in range(num + 2)][2:]  # the first ones ask for memory
        parts = {name: statistics.median(each[name] for each in times) for name in times[0]}
        found.append({"preset": preset, "crops": crops, "bytes": step.gradients.gradients.nbytes, **parts})
    return state, found


def _step(step: TimedStep, batch: Batch, world: TimedWorld) -> dict[str, float]:
    world.sums_s.clear()
    if world.size > 1:
        dist.barrier()
    begin_s = time.perf_counter()
    step(batch)
    step_s = time.perf_counter() - begin_s
    all_reduce_s = sum(world.sums_s)  # with the wait for the slower of two
    return {
        "step_s": step_s,
        "forward_backward_s": step_s - all_reduce_s - step.update_s,
        "all_reduce_s": all_reduce_s,
        "update_s": step.update_s,
    }


def _batch(crops: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    lr, hr = (
        torch.randint(0, 256, (crops, side, side, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
        for side in (CROP, CROP * SCALE)
    )
    return Batch(lr=lr, hr=hr, symmetry=torch.arange(crops, dtype=torch.uint8) % 8)


def _all_reduce_s(size: int) -> float:
    tensor = torch.zeros(size // 4)
    times = []
    for _ in range(7 if size > 2**20 else 50):
        dist.barrier()
        times.append(_timed(lambda: dist.all_reduce(tensor)))
    return statistics.median(times[1:])


def _timed(call: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    call()
    return time.perf_counter() - begin_s


def _loader_crop_s(root: Path) -> float:
    """One crop's time on one loader thread, of the sample's shards in `root`."""
    patches = open_dataset(DataParams(root=str(root), scale=SCALE, crop=CROP), verify=False).train
    made = batches(
        patches, seed=1, start=0, stop=LOADER_STEPS, batch=BATCH, share=range(BATCH), augment=True, threads=0
    )
    return statistics.median(_timed(lambda: next(made)) for _ in range(LOADER_STEPS)) / BATCH


def _checkpoint(state: TrainState) -> dict[str, object]:
    """Of EDSR-full: how long the loop waits for a snapshot, and then the write, when nothing trains."""
    tensors, snapshots, writes = state.tensors(), [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            manifest = checkpoint.Manifest(
                step=number + 1,
                precision="float32",
                num_threads=1,
                world_size=1,
                torch_version=torch.__version__,
                best_psnr=None,
                best_step=None,
            )
            with Saver(Path(folder), keep=1) as saver:
                saver.prepare("checkpoint", tensors)
                snapshots.append(_timed(lambda: saver.save(tensors, manifest)))  # noqa: B023
                writes.append(_timed(saver.close))
    size = sum(tensor.nbytes for tensor in tensors.values())
    return {"bytes": size, "snapshot_s": statistics.median(snapshots), "write_s": statistics.median(writes)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--root", type=Path, help="where the sample's shards for x4 lie; only one worker needs them")
    parser.add_argument("--steps", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
