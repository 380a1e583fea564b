"""All gradients of a step in one flat buffer: one collective, one norm per network, one guard.

The buffer goes on with the running statistics that the ranks have to average, and ends in a few scalars: the losses,
whether a rank was asked to stop, and which ranks hold something that is not finite. The ranks therefore agree on all
of it without a second collective.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sr_core.train.batch_norm import local_statistics
from sr_core.world import World

LOSS, STOP = "loss", "stop"


class GradientBuffer:
    """Gives every parameter of the networks a gradient that is a view of one float32 tensor.

    Each rank's loss must be weighted by its share of the global batch; `reduce` then leaves the global batch's
    loss and gradient on every rank, also when the shares are uneven.
    """

    def __init__(self, networks: Sequence[nn.Module], world: World, *, scalars: Sequence[str] = ()) -> None:
        """`scalars` name what else `reduce` sums over the ranks."""
        self._world = world
        self._statistics = local_statistics(networks, world)
        parameters = [list(network.parameters()) for network in networks]
        sizes = [sum(parameter.numel() for parameter in each) for each in parameters]
        num_statistics = sum(statistic.numel() for statistic in self._statistics)
        names = (LOSS, STOP, *scalars)
        parts = [*sizes, num_statistics, len(names), world.size]
        self._flat = torch.zeros(sum(parts), device=world.device)
        *self._networks, self._averaged, tail, not_finite = torch.split_with_sizes(self._flat, parts)
        self._scalars: dict[str, Tensor] = dict(zip(names, tail, strict=True))
        self._not_finite: Tensor = not_finite
        self._gradients = self._flat[: sum(sizes)]
        offset = 0
        for parameter in (parameter for each in parameters for parameter in each):
            view = self._flat[offset : offset + parameter.numel()]
            # the parameter's own strides (channels_last), or autograd would copy at every accumulation
            parameter.grad = view.as_strided(parameter.shape, parameter.stride(), view.storage_offset())
            offset += parameter.numel()

    @property
    def gradients(self) -> Tensor:
        """Every gradient, (number of parameters,)."""
        return self._gradients

    def of(self, number: int) -> Tensor:
        """The gradients of one of the networks, by its place among them."""
        return self._networks[number]

    def zero(self) -> None:
        """Before the first backward pass of a step."""
        self._flat.zero_()

    @torch.no_grad()
    def reduce(
        self, loss: Tensor, *, stop: bool, share: float = 1.0, scalars: Mapping[str, Tensor] | None = None
    ) -> None:
        """Sums gradients, `loss`, `stop`, `scalars` and what is not finite over the ranks.

        Running statistics become the mean over the ranks, in which this one counts `share`, its part of the batch.
        """
        values = {LOSS: loss.detach(), **(scalars or {})}
        for name, value in values.items():
            self._scalars[name].copy_(value)
        self._scalars[STOP].fill_(float(stop))
        # NaN and infinity survive a sum, and one number is enough to see them
        checked = self.gradients.sum() + sum(values.values())
        self._not_finite[self._world.rank] = (~torch.isfinite(checked)).float()
        if self._statistics:
            torch.cat([statistic.flatten() for statistic in self._statistics], out=self._averaged)
            self._averaged.mul_(share)
        self._world.sum_in_place(self._flat)
        if self._statistics:
            sizes = [statistic.numel() for statistic in self._statistics]
            torch._foreach_copy_(self._statistics, torch.split_with_sizes(self._averaged, sizes))

    def clip(self, max_norm: float, number: int = 0) -> Tensor:
        """Scales a network's gradients to a global L2 norm of at most `max_norm` (0: as they are); the norm before."""
        gradients = self.of(number)
        norm: Tensor = torch.linalg.vector_norm(gradients)
        if max_norm > 0:
            gradients.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0))
        return norm

    @property
    def loss(self) -> Tensor:
        """The global batch's loss, a scalar on the device."""
        return self._scalars[LOSS]

    @property
    def stop(self) -> Tensor:
        """How many ranks were asked to stop."""
        return self._scalars[STOP]

    def scalar(self, name: str) -> Tensor:
        """What was summed under this name."""
        return self._scalars[name]

    @property
    def not_finite(self) -> Tensor:
        """(world size,): 1 for each rank whose loss or gradient is not finite."""
        return self._not_finite
