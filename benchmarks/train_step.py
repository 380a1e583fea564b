"""Time of one training step: the project's default step against the plain float32 NCHW eager recipe.

    python benchmarks/train_step.py [edsr] [--preset baseline] [--rounds 7]

Both sides have the same network, threads, optimizer (Adam), loss and batch (16 LR crops of 48x48), and read the
result only after the clock stops. Rounds alternate, so that a change of the machine's speed meets both.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from sr_core.config import DataParams, ModelParams, Params, TrainParams
from sr_core.data.patches import Batch
from sr_core.models import MODELS, build
from sr_core.precision import resolve
from sr_core.train.state import fresh
from sr_core.train.step import RegressionStep
from sr_core.world import World, open_world

BATCH, CROP, LR = 16, 48, 1e-4


def main() -> None:
    arguments = _arguments()
    with open_world(timeout_s=300) as world:
        torch.manual_seed(0)
        lr = torch.randint(0, 256, (BATCH, CROP, CROP, 3), dtype=torch.uint8)
        side = CROP * arguments.scale
        hr = torch.randint(0, 256, (BATCH, side, side, 3), dtype=torch.uint8)
        ours, precision = _project_step(arguments, world, lr, hr)
        theirs = _plain_step(arguments, world, lr, hr)
        times: dict[Callable[[], None], list[float]] = {ours: [], theirs: []}
        for round_ in range(arguments.rounds + 1):
            for step, seconds in times.items():
                seconds.append(_timed(step, arguments.steps, world))
            print(f"round {round_}: ours {times[ours][-1]:.3f} s, plain {times[theirs][-1]:.3f} s")
        # the first round warms up
        pairs = zip(times[theirs][1:], times[ours][1:], strict=True)
        ratio = statistics.median(plain / own for plain, own in pairs)
        device = (
            torch.cuda.get_device_name() if world.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        )
        print(f"{arguments.model} {arguments.preset} x{arguments.scale}, {precision}, {device}")
        print(f"train_step_{arguments.model}_speedup: {ratio:.2f}")


def _project_step(
    arguments: argparse.Namespace, world: World, lr: torch.Tensor, hr: torch.Tensor
) -> tuple[Callable[[], None], str]:
    params = Params(
        data=DataParams(scale=arguments.scale, crop=CROP),
        model=ModelParams(name=arguments.model, preset=arguments.preset),
        train=TrainParams(batch=BATCH, lr=LR, compile=arguments.compile),
    )
    precision = resolve(params.train.precision, world.device)
    step = RegressionStep(fresh(params, world), params.train, world, precision)
    batch = Batch(
        lr=lr.permute(0, 3, 1, 2), hr=hr.permute(0, 3, 1, 2), symmetry=torch.arange(BATCH, dtype=torch.uint8) % 8
    )
    return lambda: step(batch), precision


def _plain_step(arguments: argparse.Namespace, world: World, lr: torch.Tensor, hr: torch.Tensor) -> Callable[[], None]:
    network = build(arguments.model, scale=arguments.scale, preset=arguments.preset, options={}).to(world.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    lr, hr = (images.permute(0, 3, 1, 2).contiguous() for images in (lr, hr))

    def step() -> None:
        optimizer.zero_grad()
        loss = functional.l1_loss(network(lr.to(world.device).float()), hr.to(world.device).float())
        loss.backward()
        optimizer.step()

    return step


def _timed(step: Callable[[], None], steps: int, world: World) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="edsr", choices=sorted(set(MODELS) - {"bicubic"}))
    parser.add_argument("--preset", default="baseline")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps per round")
    parser.add_argument("--compile", action="store_true", help="our side uses torch.compile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
