"""Time of one training step: the project's default step against the plain float32 NCHW eager recipe.

    python benchmarks/train_step.py [edsr] [--preset baseline] [--rounds 7]

Both sides have the same network, threads, optimizer (Adam), loss and batch (16 LR crops of 48x48), and the result
is waited for only when the clock stops. Each side is a process of its own with that recipe's own process settings;
rounds alternate, so that a change of the machine's speed meets both.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.data.patches import Batch
from sr_core.models import MODELS, build
from sr_core.models.fast_layers import PReLU, UnshuffledConv2d
from sr_core.models.layers import Float32Conv2d, NormalisedConv2d, SubPixelConv2d
from sr_core.models.rrdb import SLOPE, DenseBlock
from sr_core.models.srresnet import Upsampling
from sr_core.models.wdsr import BlockB
from sr_core.params import DataParams, ModelParams, Params, TrainParams
from sr_core.precision import resolve
from sr_core.train.memory import keep_freed_memory
from sr_core.train.state import fresh
from sr_core.train.step import RegressionStep
from sr_core.world import World, open_world

BATCH, CROP, LR = 16, 48, 1e-4
Step = Callable[[], None]


def main() -> None:
    arguments = _arguments()
    sides = {"ours": _start(_project_step, arguments), "plain": _start(_plain_step, arguments)}
    job = f"{arguments.model} {arguments.preset} x{arguments.scale}, {BATCH} crops of {CROP}x{CROP}"
    print(f"{job}: {_machine(arguments)}")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(arguments.rounds + 1):
        for name, connection in sides.items():
            connection.send(arguments.steps)
            times[name].append(connection.recv())
        text = ", ".join(f"{name} {seconds[-1]:.4f} s" for name, seconds in times.items())
        print(f"round {round_}: {text}" + ("  (warm-up, not counted)" if round_ == 0 else ""), flush=True)
    for connection in sides.values():
        connection.send(0)
    ratio = statistics.median(plain / own for plain, own in zip(times["plain"][1:], times["ours"][1:], strict=True))
    print(f"train_step_{arguments.model}_speedup: {ratio:.2f}")


def _start(make: Callable[[argparse.Namespace, World], Step], arguments: argparse.Namespace) -> Connection:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=_serve, args=(make, arguments, theirs), daemon=True).start()
    return ours


def _serve(make: Callable[[argparse.Namespace, World], Step], arguments: argparse.Namespace, to: Connection) -> None:
    """Answers each number of steps with the seconds that one of them took."""
    torch.set_num_threads(arguments.threads)
    with open_world(timeout_s=300) as world:
        step = make(arguments, world)
        while steps := to.recv():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            if world.device.type == "cuda":
                torch.cuda.synchronize()
            to.send((time.perf_counter() - start) / steps)


def _crops(arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = (CROP, CROP * arguments.scale)
    shapes = [(BATCH, side, side, 3) for side in sides]
    lr, hr = (torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for shape in shapes)
    return lr.permute(0, 3, 1, 2), hr.permute(0, 3, 1, 2)


def _project_step(arguments: argparse.Namespace, world: World) -> Step:
    params = Params(
        data=DataParams(scale=arguments.scale, crop=CROP),
        model=ModelParams(name=arguments.model, preset=arguments.preset),
        train=TrainParams(batch=BATCH, lr=LR, compile=arguments.compile),
    )
    if world.device.type == "cpu":
        keep_freed_memory()
    step = RegressionStep(fresh(params, world), params.train, world, resolve(params.train.precision, world.device))
    lr, hr = _crops(arguments)
    batch = Batch(lr=lr, hr=hr, symmetry=torch.arange(BATCH, dtype=torch.uint8) % 8)
    return lambda: step(batch)


def _plain_step(arguments: argparse.Namespace, world: World) -> Step:
    network = build(arguments.model, scale=arguments.scale, preset=arguments.preset, options={})
    network = of_plain_layers(network).to(world.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    lr, hr = (crops.contiguous() for crops in _crops(arguments))

    def step() -> None:
        optimizer.zero_grad()
        loss = functional.l1_loss(network(lr.to(world.device).float()), hr.to(world.device).float())
        loss.backward()
        optimizer.step()

    return step


def of_plain_layers(module: nn.Module) -> nn.Module:
    """The same network out of torch's own layers, as public trainers write it."""
    for name, child in module.named_children():
        setattr(module, name, of_plain_layers(child))
    if isinstance(module, PReLU):
        return nn.PReLU()
    for kind, plain in {BlockB: _PlainBlock, DenseBlock: _PlainDenseBlock, Upsampling: _PlainUpsampling}.items():
        if isinstance(module, kind):
            return plain(module)
    if isinstance(module, NormalisedConv2d):
        return _weight_normalised(module)
    if not isinstance(module, SubPixelConv2d | Float32Conv2d):
        return module
    padding = module.kernel_size[0] // 2
    plain = nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size[0], padding=padding)
    plain.load_state_dict(module.state_dict())
    if isinstance(module, UnshuffledConv2d):
        return _PlainHead(plain)
    return nn.Sequential(plain, nn.PixelShuffle(module.scale)) if isinstance(module, SubPixelConv2d) else plain


def _weight_normalised(module: NormalisedConv2d) -> nn.Module:
    num_out, num_in, side, _ = module.weight_v.shape
    plain = nn.Conv2d(num_in, num_out, side, padding=side // 2)
    plain.load_state_dict({"weight": module.weight, "bias": module.bias})
    return nn.utils.parametrizations.weight_norm(plain)


class _PlainBlock(nn.Module):
    """WDSR-B's block without channels of zeros."""

    def __init__(self, block: BlockB) -> None:
        super().__init__()
        self.body = nn.Sequential(block.conv1, nn.ReLU(inplace=True), block.conv2, block.conv3)
        self.res_scale = block.res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) * self.res_scale


class _PlainDenseBlock(nn.Module):
    """RRDB's dense block by concatenation."""

    def __init__(self, block: DenseBlock) -> None:
        super().__init__()
        self.convs = nn.ModuleList((block.conv1, block.conv2, block.conv3, block.conv4))
        self.last, self.res_scale = block.conv5, block.res_scale

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv in self.convs:
            features.append(functional.leaky_relu(conv(torch.cat(features, 1)), SLOPE, inplace=True))
        return x + self.last(torch.cat(features, 1)) * self.res_scale


class _PlainUpsampling(nn.Module):
    """SRResNet's stage, always shuffled."""

    def __init__(self, stage: Upsampling) -> None:
        super().__init__()
        self.body = nn.Sequential(stage.conv, stage.activation)

    def forward(self, x: Tensor, **_before: bool) -> Tensor:
        return self.body(x)


class _PlainHead(nn.Module):
    """SRResNet's last convolution, behind the shuffle."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, **_before: int) -> Tensor:
        return self.conv(x)


def _machine(arguments: argparse.Namespace) -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU with {arguments.threads} threads"
    return f"{resolve('auto', device)} against float32 on {name}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", nargs="?", default="edsr", choices=[name for name in MODELS if MODELS[name].is_trainable]
    )
    parser.add_argument("--preset", default="baseline")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps per round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="our side uses torch.compile")
    return parser.parse_args()


if __name__ == "__main__":
    main()
