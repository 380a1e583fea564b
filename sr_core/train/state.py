"""What changes while training goes on, and nothing else: the one mutable object, owned by the loop."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sr_core import models
from sr_core.errors import CheckpointError
from sr_core.models.discriminator import Discriminator
from sr_core.params import Params
from sr_core.train import batch_norm, optim
from sr_core.world import World


@dataclasses.dataclass(kw_only=True, slots=True)
class TrainState:
    """The networks, the moving average, the optimizers, and how far training has come."""

    network: nn.Module
    ema: nn.Module  # the network itself when there is no moving average
    optimizer: torch.optim.Adam
    discriminator: nn.Module | None = None
    discriminator_optimizer: torch.optim.Adam | None = None
    step: int = 0
    skipped: Tensor = dataclasses.field(default_factory=lambda: torch.zeros((), dtype=torch.int64))  # on the device
    best_psnr: float | None = None
    best_step: int | None = None

    @property
    def trained(self) -> list[nn.Module]:
        """The networks that a step changes: that which enlarges, and the discriminator if there is one."""
        return [self.network, *([self.discriminator] if self.discriminator is not None else [])]

    @property
    def optimizers(self) -> list[torch.optim.Adam]:
        """Their optimizers."""
        return [self.optimizer, *([self.discriminator_optimizer] if self.discriminator_optimizer is not None else [])]

    @torch.no_grad()
    def update_ema(self, decay: float, *, left_out: Tensor | None = None) -> None:
        """ema = d * ema + (1 - d) * network for every parameter, with d = min(decay, (1 + step) / (10 + step)).

        The second term is TensorFlow's `num_updates` rule: without it a short run's average is mostly its
        random beginning (measured: 4.4 dB below bicubic after 150 steps of the sample at 0.99). Buffers, which are
        averages themselves where they change, are copied. Where `left_out`, a flag on the device, is set, the average
        stays bit for bit what it was.
        """
        if self.ema is not self.network:
            decay = min(decay, (1 + self.step) / (10 + self.step))
            weight = torch.full_like(self.skipped, 1.0 - decay, dtype=torch.float32)
            if left_out is not None:
                weight.masked_fill_(left_out, 0.0)
            for own, other in zip(self.ema.parameters(), self.network.parameters(), strict=True):
                own.lerp_(other, weight)
            if buffers := list(self.ema.buffers()):
                torch._foreach_copy_(buffers, list(self.network.buffers()))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name; the tensors themselves, not copies."""
        return dict(self._named_tensors())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Copies `tensors` into the state; raises CheckpointError with the first name or shape that does not fit."""
        for name, own in self._named_tensors():
            found = tensors.get(name)
            if found is None or found.shape != own.shape:
                shape = "absent" if found is None else tuple(found.shape)
                raise CheckpointError(f"checkpoint: {name} is {shape}, expected shape {tuple(own.shape)}")
            own.copy_(found)

    @torch.no_grad()
    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from _of_network("network", "adam", self.network, self.optimizer)
        if self.ema is not self.network:
            yield from ((f"ema/{name}", tensor) for name, tensor in self.ema.state_dict().items())
        if self.discriminator is not None and self.discriminator_optimizer is not None:
            yield from _of_network(
                "discriminator", "adam_discriminator", self.discriminator, self.discriminator_optimizer
            )


def _of_network(
    prefix: str, optimizer_prefix: str, network: nn.Module, optimizer: torch.optim.Adam
) -> Iterator[tuple[str, Tensor]]:
    yield from ((f"{prefix}/{name}", tensor) for name, tensor in network.state_dict().items())
    for name, parameter in network.named_parameters():
        for key, tensor in _slots(optimizer, parameter).items():
            yield f"{optimizer_prefix}/{name}/{key}", tensor


def _slots(optimizer: torch.optim.Adam, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Adam's own tensors for `parameter`, made as Adam makes them if it has not stepped yet."""
    slots: dict[str, Any] = optimizer.state[parameter]
    if not slots:
        slots["step"] = torch.zeros((), device=parameter.device)
        slots["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        slots["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return slots


def fresh(params: Params, world: World) -> TrainState:
    """The state at step 0: the same weights on every rank, from the seed alone.

    Raises:
        ConfigError: the crops are too small for the discriminator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        network = models.build(
            params.model.name, scale=params.data.scale, preset=params.model.preset, options=params.model.options
        )
        discriminator = _discriminator(params) if params.is_adversarial else None
    network = _placed(network, world)
    ema = copy.deepcopy(network).requires_grad_(False) if params.train.ema_decay > 0 else network
    state = TrainState(network=network, ema=ema, optimizer=optim.build(network.parameters(), params.train))
    state.skipped = state.skipped.to(world.device)
    if discriminator is not None:
        state.discriminator = discriminator = _placed(discriminator, world)
        state.discriminator_optimizer = optim.build(discriminator.parameters(), params.train)
    return state


def _discriminator(params: Params) -> nn.Module:
    adversarial = params.adversarial
    return Discriminator(
        side=params.crop * params.data.scale,
        num_features=adversarial.discriminator_features,
        num_dense=adversarial.discriminator_dense,
    )


def _placed(network: nn.Module, world: World) -> nn.Module:
    network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return batch_norm.over_ranks(network, world)
