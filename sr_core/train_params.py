"""The schedule of a training run, its losses, and what the loop does every so many steps."""

import dataclasses
import math
from typing import Literal

from sr_core.sections import Problems, at_least

ProtocolName = Literal["benchmark-y", "div2k-rgb", "whole-rgb"]
MOST_THREADS = 1024  # far more than cores crash the process
SMALLEST_CROP = 8  # LR pixels


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainParams:
    """The schedule, the optimizer, and what the loop does every so many steps."""

    steps: int = 300_000
    batch: int = 16  # crops per step over all ranks
    accumulate: int = 1  # parts into which a rank's crops are cut to save memory; the gradient is that of all
    crop: int | None = None  # side of a training crop, LR pixels; null: data.crop
    start: str | None = None  # weights to begin with: another model's name, a model or run directory, a weight file
    loss: Literal["l1", "mse", "charbonnier"] = "l1"
    lr: float = 1e-4
    lr_milestones: tuple[int, ...] = (200_000,)  # steps at which lr is multiplied by lr_decay
    lr_decay: float = 0.5
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = 1e-8
    ema_decay: float = 0.999  # 0: no EMA, the trained weights are validated and published
    clip_norm: float = 0.0  # largest global gradient norm; 0: no clipping
    augment: bool = True  # the eight symmetries of the square
    precision: Literal["auto", "bf16", "float32"] = "auto"
    compile: bool = False
    deterministic: bool = False  # CUDA: bit-exact kernels, slower; on CPU training is bit-exact anyway
    max_skipped: int = 0  # steps whose loss or gradient is not finite that are left out before training ends
    loader_threads: int = 1  # that make batches ahead; 0: they are made when they are needed
    num_threads: int | None = None  # torch threads per rank; null: cores / ranks on this host
    log_every: int = 100
    eval_every: int = 1000
    eval_images: int = 10
    eval_protocol: ProtocolName = "benchmark-y"  # by which the best weights are told
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    collective_timeout_s: float = 300.0

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from at_least(
            self,
            steps=1,
            batch=1,
            accumulate=1,
            log_every=1,
            eval_every=1,
            eval_images=1,
            checkpoint_every=1,
            keep_checkpoints=2,
            max_skipped=0,
            loader_threads=0,
        )
        for name in ("lr", "lr_decay", "adam_eps", "collective_timeout_s"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                yield name, f"is {getattr(self, name)}, expected a finite number above 0"
        if self.crop is not None and self.crop < SMALLEST_CROP:
            yield "crop", f"is {self.crop}, expected null, or {SMALLEST_CROP} or more"
        if not 0 <= self.ema_decay < 1:
            yield "ema_decay", f"is {self.ema_decay}, expected 0 (off) or a number below 1, such as 0.999"
        if not (self.clip_norm >= 0 and math.isfinite(self.clip_norm)):
            yield "clip_norm", f"is {self.clip_norm}, expected 0 (off) or a finite number above 0"
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            yield "adam_betas", f"is {list(self.adam_betas)}, expected two numbers in 0 <= beta < 1"
        if list(self.lr_milestones) != sorted(set(self.lr_milestones)) or min(self.lr_milestones, default=1) < 1:
            yield "lr_milestones", f"is {list(self.lr_milestones)}, expected increasing steps from 1 on"
        if self.loader_threads > MOST_THREADS:
            yield "loader_threads", f"is {self.loader_threads}, expected 0 to {MOST_THREADS}"
        if self.num_threads is not None and not 1 <= self.num_threads <= MOST_THREADS:
            yield "num_threads", f"is {self.num_threads}, expected null, or 1 to {MOST_THREADS}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialParams:
    """Training against a discriminator (SRGAN, Ledig et al. 2017; ESRGAN, Wang et al. 2018); images are on 0..1 here.

    The generator's loss is content_weight * content + pixel_weight * train.loss + weight * adversarial.
    """

    loss: Literal["none", "vanilla", "relativistic"] = "none"  # none: no discriminator, and nothing below counts
    weight: float = 1e-3
    content: Literal["vgg54", "vgg22", "pixel", "none"] = "vgg54"  # pixel: the images themselves
    content_loss: Literal["l1", "mse"] = "mse"
    content_weight: float = 1.0
    before_activation: bool = False  # the VGG layer's features before its ReLU, as ESRGAN takes them
    pixel_weight: float = 0.0
    vgg_weights: str | None = None  # torchvision's vgg19-dcbb9e9d.pth; null: fetched to <data.root>/weights
    discriminator_features: int = 64  # of its first layer; the last has eight times as many
    discriminator_dense: int = 1024  # of its hidden dense layer

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from at_least(self, discriminator_features=1, discriminator_dense=1)
        for name in ("weight", "content_weight", "pixel_weight"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                yield name, f"is {getattr(self, name)}, expected 0 or a finite number above 0"
        if self.loss != "none" and not self.weight:
            yield "weight", "is 0, expected a number above 0 where adversarial.loss is not none"
