"""Which steps are left out because their loss or gradient is not finite, and when there were too many of them.

Everything is counted on the device, since reading a number makes a GPU's host wait: `check` is for every step, `look`
for when the host waits anyway. Once there are too many no update is made any more, whenever the host comes to look.
"""

import torch
from torch import Tensor

from sr_core.errors import DivergedError
from sr_core.world import World


class Guard:
    """Counts in `count` (int64, part of the state that checkpoints hold) the steps that were left out."""

    def __init__(self, world: World, *, most: int, count: Tensor) -> None:
        self._world, self._most, self._count = world, most, count
        self._seen: int | None = None  # the count when the host last looked
        # of the step that was left out last: its number, and one place per rank and one for the norms over all ranks
        self._step = torch.zeros((), device=world.device, dtype=torch.int64)
        self._flags = torch.zeros(world.size + 1, device=world.device)
        self._is_over = torch.zeros((), device=world.device, dtype=torch.bool)

    @torch.no_grad()
    def check(self, step: int, ranks: Tensor, norm: Tensor) -> Tensor:
        """Whether no update may be made, (): `ranks` holds what is not finite on each, `norm` is over all of them."""
        if self._seen is None:
            self._seen = int(self._count)  # of the launches before: the first step of this one, nothing is under way
        flags = torch.cat([ranks, (~torch.isfinite(norm)).to(ranks).view(1)])
        is_new = flags.any() & ~self._is_over  # afterwards the step that was one too many stays the one to name
        self._step.copy_(torch.where(is_new, step, self._step))
        self._flags.copy_(torch.where(is_new, flags, self._flags))
        self._count += is_new
        self._is_over |= is_new & (self._count > self._most)
        return is_new | self._is_over

    def look(self) -> str | None:
        """A sentence on the steps that were left out since the last look, if there are any; waits for the device.

        Raises:
            DivergedError: there were more than `most`.
        """
        count, before = int(self._count), self._seen
        self._seen = count
        if before is None or count == before:
            return None
        what = f"step {int(self._step)}: loss or gradient is NaN or infinite {self._where()}"
        if not self._is_over:
            return f"{what}; the step was left out, {count} of at most {self._most} (train.max_skipped)"
        after = f" after {count - 1} steps that were left out" if self._most else ""
        raise DivergedError(
            f"{what}, expected finite numbers{after}; no update was made; lower train.lr or set train.clip_norm, then "
            "start again, or raise train.max_skipped, then go on without such steps"
        )

    def _where(self) -> str:
        found = torch.nonzero(self._flags).flatten().tolist()
        ranks = [str(rank) for rank in found if rank < self._world.size]
        return f"on rank {', '.join(ranks)}" if ranks else "summed over the ranks"
