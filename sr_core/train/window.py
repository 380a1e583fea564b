"""What the loop knows of the steps since it last looked."""

import time

import torch
from torch import Tensor

from sr_core.train import metrics_log
from sr_core.train.step import Step
from sr_core.world import World


class Window:
    """Losses and time of the steps since the last look; what is logged as a mean is summed on the device.

    Steps that were left out count in the time alone: what is not finite would make every mean so.
    """

    def __init__(self, world: World) -> None:
        self._sums: dict[str, Tensor] = {}
        self._usage = metrics_log.Usage()
        self._num, self._seconds, self._at = 0, 0.0, time.monotonic()
        self._norm = torch.zeros((), device=world.device)
        self._num_counted = torch.zeros((), device=world.device, dtype=torch.int64)

    def restart(self) -> None:
        """The clock starts again: what happened since the last step was no step."""
        self._at = time.monotonic()

    def add(self, step: Step) -> None:
        """One more step is done."""
        for name, value in {"train/loss": step.gradients.loss, **step.values}.items():
            counted = torch.where(step.left_out, 0.0, value)
            self._sums[name] = self._sums[name] + counted if name in self._sums else counted
        self._norm = torch.where(step.left_out, self._norm, step.gradient_norm)
        self._num_counted += ~step.left_out
        self._num += 1
        now = time.monotonic()
        self._seconds, self._at = self._seconds + now - self._at, now

    def values(self, rate: float, batch: int) -> dict[str, float]:
        """The means over the window, which then begins anew, and the last step's gradient norm."""
        num_counted = int(self._num_counted)  # waits for the device: time is right after it
        self.add_time()
        means = {name: total.item() / num_counted for name, total in self._sums.items()} if num_counted else {}
        norm = {"train/gradient_norm": self._norm.item()} if num_counted else {}
        step_s = self._seconds / self._num
        self._sums = {}
        self._num_counted.zero_()
        self._num, self._seconds = 0, 0.0
        timing = {"train/step_s": step_s, "train/crops_per_s": batch / step_s}
        return {**means, **norm, "train/lr": rate, **timing, **self._usage.look()}

    def add_time(self) -> None:
        """Counts the wait for the device as time of the steps."""
        now = time.monotonic()
        self._seconds, self._at = self._seconds + now - self._at, now


class Behind:
    """A flag of the device's, read on the host: on a GPU as it was one call before.

    The host then waits for the step before the one that it has just queued, so the device never runs out of work, and
    all ranks read the same. On a CPU there is nothing to wait for.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._copies = [torch.zeros((), pin_memory=self._on_gpu) for _ in range(2)]
        self._copied: list[torch.cuda.Event | None] = [None, None]

    def __call__(self, flag: Tensor) -> bool:
        """Whether `flag`, (), was above 0."""
        if not self._on_gpu:
            return bool(flag.item() > 0)
        self._copies.reverse()
        self._copied.reverse()
        self._copies[0].copy_(flag, non_blocking=True)
        self._copied[0] = copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        if self._copied[1] is None:
            return False
        self._copied[1].synchronize()
        return bool(self._copies[1].item() > 0)
