"""Small networks that train against each other, on made-up crops, and what their gradients should be."""

import os
import socket
from pathlib import Path

import torch
import torch.multiprocessing
from photos import SCALE
from torch import Tensor, nn

from sr_core.data.patches import Batch
from sr_core.models import build
from sr_core.params import AdversarialParams, DataParams, Params, TrainParams
from sr_core.train import optim
from sr_core.train.adversarial import AdversarialStep
from sr_core.train.losses import LOSSES, discriminator_loss, generator_loss
from sr_core.train.state import TrainState
from sr_core.train.step import RegressionStep, Step
from sr_core.world import World, open_world

BATCH, SIDE = 5, 8  # crops, LR pixels


class Judge(nn.Module):
    """A discriminator with or without batch normalisation, of crops of SIDE * SCALE pixels."""

    def __init__(self, *, normalised: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8) if normalised else nn.Identity()
        self.dense = nn.Linear(8 * (SIDE * SCALE // 4) ** 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) on 0..1 -> (B, 1)."""
        x = nn.functional.leaky_relu(self.conv1(2 * x - 1), 0.2)
        x = nn.functional.leaky_relu(self.norm(self.conv2(x)), 0.2)
        return self.dense(x.flatten(1))


class Normalised(nn.Module):
    """A network that enlarges, with batch normalisation."""

    scale = SCALE

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        return 255 * nn.functional.pixel_shuffle(self.tail(torch.relu(self.norm(self.conv(x / 255)))), SCALE)


def features() -> nn.Module:
    """Something frozen by which content can be compared."""
    torch.manual_seed(2)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    return made.requires_grad_(False)


def params_of(loss: str = "none", *, accumulate: int = 1, **adversarial) -> Params:
    fields = {"weight": 0.1, "content_weight": 0.5, "pixel_weight": 0.3, "content_loss": "mse"} | adversarial
    return Params(
        data=DataParams(scale=SCALE, crop=SIDE),
        train=TrainParams(batch=BATCH, accumulate=accumulate, lr=1e-3, ema_decay=0.0),
        adversarial=AdversarialParams(loss=loss, **fields),
    )


def state_of(params: Params, *, normalised: bool = False) -> TrainState:
    torch.manual_seed(1)
    options = {"num_blocks": 1, "num_features": 8}
    edsr = build("edsr", scale=SCALE, preset="small", options=options)
    network = (Normalised() if normalised else edsr).to(memory_format=torch.channels_last)
    state = TrainState(network=network, ema=network, optimizer=optim.build(network.parameters(), params.train))
    if params.is_adversarial:
        judge = Judge(normalised=normalised).to(memory_format=torch.channels_last)
        state.discriminator, state.discriminator_optimizer = judge, optim.build(judge.parameters(), params.train)
    return state


def step_of(state: TrainState, params: Params, world: World | None = None) -> Step:
    world = world or World()
    if params.is_adversarial:
        return AdversarialStep(state, params, world, "float32", features())
    return RegressionStep(state, params.train, world, "float32")


def crops(share: range = range(BATCH)) -> Batch:
    generator = torch.Generator().manual_seed(3)
    lr, hr = (
        torch.randint(0, 256, (BATCH, side, side, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
        for side in (SIDE, SIDE * SCALE)
    )
    mine = slice(share.start, share.stop)
    return Batch(lr=lr[mine], hr=hr[mine], symmetry=torch.zeros(len(share), dtype=torch.uint8))


def analytic(params: Params) -> list[Tensor]:
    """The gradients of generator and discriminator (flat), by the formulas and autograd alone."""
    state, batch = state_of(params), crops()
    lr, hr = batch.lr.float(), batch.hr.float()
    sr = state.network(lr)
    if not params.is_adversarial:
        return [flat(LOSSES[params.train.loss](sr, hr, 255.0), state.network)]
    own, kind, judge, see = params.adversarial, params.adversarial.loss, state.discriminator, features()
    generator = own.weight * generator_loss(kind, judge(hr / 255).flatten(), judge(sr / 255).flatten())
    generator = generator + own.content_weight * (see(sr / 255) - see(hr / 255)).square().mean()
    generator = generator + own.pixel_weight * (sr / 255 - hr / 255).abs().mean()
    told = discriminator_loss(kind, judge(hr / 255).flatten(), judge(sr.detach() / 255).flatten())
    return [flat(generator, state.network), flat(told, judge)]


def flat(loss: Tensor, network: nn.Module) -> Tensor:
    """The gradient of `loss` in the order of memory, as the buffer has it."""
    found = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    rows = [gradient.permute(0, 2, 3, 1) if gradient.ndim == 4 else gradient for gradient in found]
    return torch.cat([row.flatten() for row in rows])


def gradients_of(params: Params, world: World | None = None, *, normalised: bool = False) -> list[list[Tensor]]:
    """After one step: the gradients of each network; the loss and the values of the log; the buffers."""
    world = world or World()
    state = state_of(params, normalised=normalised)
    step = step_of(state, params, world)
    step(crops(world.share(BATCH)))
    gradients = [step.gradients.of(number).clone() for number in range(len(state.trained))]
    values = [step.gradients.loss.clone(), *(step.values[name].clone() for name in sorted(step.values))]
    return [gradients, values, [buffer.clone() for network in state.trained for buffer in network.buffers()]]


def _rank(rank: int, port: int, size: int, jobs: list, out: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank))
    os.environ.update(WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    with open_world(timeout_s=60, use_gpu=False) as world:
        found = [gradients_of(params, world, normalised=normalised) for params, normalised in jobs]
    torch.save(found, out / f"{rank}.pt")


def on_ranks(jobs: list, out: Path, *, size: int = 2) -> list:
    """`gradients_of` each of `jobs`, pairs of parameters and whether to normalise, on each of `size` real ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, (port, size, jobs, out), nprocs=size)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(size)]
