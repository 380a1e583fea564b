"""All gradients of a network in one flat buffer: one collective, one norm, one guard per step.

The buffer ends in a few scalars that travel with the gradients: the loss, whether a rank was asked to stop, and
which ranks hold something that is not finite. The ranks therefore agree on all of it without a second collective.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sr_core.world import World

LOSS, STOP, NUM_SHARED = 0, 1, 2  # then one slot per rank: 1 where that rank's loss or gradient is not finite


class GradientBuffer:
    """Gives every parameter a gradient that is a view of one float32 tensor.

    Each rank's loss must be weighted by its share of the global batch; `reduce` then leaves the global batch's
    loss and gradient on every rank, also when the shares are uneven.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], world: World) -> None:
        self._world = world
        parameters = list(parameters)
        self._num = sum(parameter.numel() for parameter in parameters)
        self._flat = torch.zeros(self._num + NUM_SHARED + world.size, device=world.device)
        self._tail = self._flat[self._num :]
        offset = 0
        for parameter in parameters:
            view = self._flat[offset : offset + parameter.numel()]
            # the parameter's own strides (channels_last), or autograd would copy at every accumulation
            parameter.grad = view.as_strided(parameter.shape, parameter.stride(), view.storage_offset())
            offset += parameter.numel()

    @property
    def gradients(self) -> Tensor:
        """Every gradient, (number of parameters,)."""
        return self._flat[: self._num]

    def zero(self) -> None:
        """Before the first backward pass of a step."""
        self._flat.zero_()

    def reduce(self, loss: Tensor, *, stop: bool) -> None:
        """Sums gradients, `loss`, `stop` and what is not finite over the ranks."""
        self._tail[LOSS] = loss.detach()
        self._tail[STOP] = float(stop)
        # NaN and infinity survive a sum, and one number is enough to see them
        self._tail[NUM_SHARED + self._world.rank] = (~torch.isfinite(self.gradients.sum() + loss.detach())).float()
        self._world.sum_in_place(self._flat)

    def clip(self, max_norm: float) -> Tensor:
        """Scales the gradients so that their global L2 norm is at most `max_norm` (0: as they are); the norm before."""
        norm: Tensor = torch.linalg.vector_norm(self.gradients)
        if max_norm > 0:
            self.gradients.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0))
        return norm

    @property
    def loss(self) -> Tensor:
        """The global batch's loss, a scalar on the device."""
        return self._tail[LOSS]

    @property
    def stop(self) -> Tensor:
        """How many ranks were asked to stop."""
        return self._tail[STOP]

    @property
    def not_finite(self) -> Tensor:
        """(world size,): 1 for each rank whose loss or gradient is not finite."""
        return self._tail[NUM_SHARED:]
