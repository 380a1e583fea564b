"""The optimizer and its schedule: Adam, and a learning rate that is a pure function of the step.

There is no scheduler object, so there is none to forget or to decay twice on resume.
"""

from bisect import bisect_right
from collections.abc import Iterable

import torch

from sr_core.train_params import TrainParams


def learning_rate(params: TrainParams, step: int) -> float:
    """The rate of the update that leads from `step` to `step + 1`: lr * lr_decay^(milestones reached)."""
    return params.lr * params.lr_decay ** bisect_right(params.lr_milestones, step)


def build(parameters: Iterable[torch.nn.Parameter], params: TrainParams) -> torch.optim.Adam:
    """Adam (Kingma and Ba 2015) in one fused kernel; it leaves out an update whose `found_inf` is not 0."""
    return torch.optim.Adam(parameters, lr=params.lr, betas=params.adam_betas, eps=params.adam_eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The same rate for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = value
