"""One optimizer step of a regression network: augment, forward, loss, backward, one collective, update.

On a GPU nothing here waits for the device: the guard against NaN is the fused optimizer's own, which leaves out
the update when `found_inf` is set, and the host looks at the flags when it logs.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sr_core.data.patches import Batch, augment
from sr_core.precision import Precision, autocast
from sr_core.train.gradients import GradientBuffer
from sr_core.train.optim import learning_rate, set_learning_rate
from sr_core.train.state import TrainState
from sr_core.train_params import TrainParams
from sr_core.world import World

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": functional.l1_loss}


class RegressionStep:
    """Takes `state` from one step to the next on this rank's share of the global batch."""

    def __init__(self, state: TrainState, params: TrainParams, world: World, precision: Precision) -> None:
        self._state, self._params, self._world, self._precision = state, params, world, precision
        self._loss = LOSSES[params.loss]
        self._forward = torch.compile(state.network) if params.compile else state.network
        self.gradients = GradientBuffer(state.network.parameters(), world)
        self.gradient_norm = torch.zeros((), device=world.device)
        # what was not finite since the start: one place per rank, and one for the norm over all of them
        self.not_finite = torch.zeros(world.size + 1, device=world.device)
        self.num_good = torch.zeros((), device=world.device, dtype=torch.int64)  # steps before that

    def __call__(self, batch: Batch, *, stop: bool = False) -> None:
        """One step; `stop` says that this rank was asked to stop."""
        lr, hr = augment(batch.to(self._world.device))
        with autocast(self._world.device, self._precision):
            sr = self._forward(lr)
        loss = self._loss(sr, hr) * (lr.shape[0] / self._params.batch)
        self.gradients.zero()
        torch.autograd.backward(loss)
        self.gradients.reduce(loss, stop=stop)
        self._update()

    @torch.no_grad()
    def _update(self) -> None:
        self.gradient_norm = self.gradients.clip(self._params.clip_norm)
        self.not_finite[:-1] += self.gradients.not_finite
        self.not_finite[-1] += ~torch.isfinite(self.gradient_norm)
        is_bad = self.not_finite.any()
        self.num_good += ~is_bad
        optimizer = self._state.optimizer
        optimizer.found_inf = is_bad.float()  # type: ignore[attr-defined]
        set_learning_rate(optimizer, learning_rate(self._params, self._state.step))
        optimizer.step()
        self._state.update_ema(self._params.ema_decay)
        self._state.step += 1
