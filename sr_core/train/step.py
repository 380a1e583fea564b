"""One optimizer step: augment, forward, loss, backward, one collective, update.

On a GPU nothing here waits for the device. A step whose loss or gradient is not finite is left out on all ranks: the
fused optimizer makes no update when `found_inf` is set, the moving average stays, and what the forward pass changed in
the networks' buffers is put back. The host looks at the guard's count when it logs.
"""

import abc
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from sr_core import faults
from sr_core.data.patches import Batch, augment
from sr_core.precision import Precision, autocast
from sr_core.train.gradients import GradientBuffer
from sr_core.train.guard import Guard
from sr_core.train.losses import LOSSES
from sr_core.train.optim import learning_rate, set_learning_rate
from sr_core.train.state import TrainState
from sr_core.train_params import TrainParams
from sr_core.world import World

PEAK = 255.0  # white, as the networks see it


class Step(abc.ABC):
    """Takes `state` from one step to the next on this rank's share of the global batch.

    All networks that are trained have their gradients in one buffer, and are updated together or not at all.
    """

    def __init__(
        self,
        state: TrainState,
        params: TrainParams,
        world: World,
        precision: Precision,
        *,
        scalars: Sequence[str] = (),
    ) -> None:
        self._state, self._params, self._world, self._precision = state, params, world, precision
        self._forward = torch.compile(state.network) if params.compile else state.network
        self.gradients = GradientBuffer(state.trained, world, scalars=scalars)
        self.gradient_norm = torch.zeros((), device=world.device)  # of the network that enlarges
        self.guard = Guard(world, most=params.max_skipped, count=state.skipped)
        self.left_out = torch.zeros((), device=world.device, dtype=torch.bool)  # the last step, by the guard
        self._buffers = [buffer for network in state.trained for buffer in network.buffers()]
        self._buffers_before = [buffer.clone() for buffer in self._buffers]
        # ranks cut their shares into equally many parts: SyncBatchNorm waits for all of them in each
        self._num_parts = min(params.accumulate, params.batch // world.size)

    def __call__(self, batch: Batch, *, stop: bool = False) -> None:
        """One step; `stop` says that this rank was asked to stop."""
        lr, hr = augment(batch.to(self._world.device))
        self.gradients.zero()
        if self._buffers:
            torch._foreach_copy_(self._buffers_before, self._buffers)
        faults.point("forward")
        self._backward(lr, hr, stop=stop)
        faults.point("optimizer")
        self._update()

    @property
    def values(self) -> dict[str, Tensor]:
        """More scalars of the last step for the log, of the global batch, on the device."""
        return {}

    @abc.abstractmethod
    def _backward(self, lr: Tensor, hr: Tensor, *, stop: bool) -> None:
        """Leaves the global batch's gradients in the buffer, from (b, 3, h, w) and (b, 3, S*h, S*w) in 0..255."""

    def _parts(self, num: int) -> list[slice]:
        """This rank's `num` crops, cut as `train.accumulate` wants: sizes differ by at most one."""
        edges = [num * i // self._num_parts for i in range(self._num_parts + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    def _weight(self, num: int) -> float:
        """What the mean over `num` crops counts in the mean over the global batch."""
        return num / self._params.batch

    def _enlarge(self, lr: Tensor) -> Tensor:
        with autocast(self._world.device, self._precision):
            sr: Tensor = self._forward(lr)
        return sr

    @torch.no_grad()
    def _update(self) -> None:
        norms = [self.gradients.clip(self._params.clip_norm, number) for number in range(len(self._state.trained))]
        self.gradient_norm = norms[0]
        self.left_out = self.guard.check(self._state.step + 1, self.gradients.not_finite, torch.stack(norms).sum())
        for buffer, before in zip(self._buffers, self._buffers_before, strict=True):
            buffer.copy_(torch.where(self.left_out, before, buffer))
        for optimizer in self._state.optimizers:
            optimizer.found_inf = self.left_out.float()  # type: ignore[attr-defined]
            set_learning_rate(optimizer, learning_rate(self._params, self._state.step))
            optimizer.step()
        self._state.update_ema(self._params.ema_decay, left_out=self.left_out)
        self._state.step += 1


class RegressionStep(Step):
    """Minimises `train.loss` of the images on 0..255."""

    def __init__(self, state: TrainState, params: TrainParams, world: World, precision: Precision) -> None:
        super().__init__(state, params, world, precision)
        self._loss = LOSSES[params.loss]

    def _backward(self, lr: Tensor, hr: Tensor, *, stop: bool) -> None:
        total = torch.zeros((), device=lr.device)
        for part in self._parts(len(lr)):
            loss = self._loss(self._enlarge(lr[part]), hr[part], PEAK) * self._weight(part.stop - part.start)
            torch.autograd.backward(loss)
            total += loss.detach()
        faults.point("backward")
        self.gradients.reduce(total, stop=stop, share=self._weight(len(lr)))
