"""What is minimised: pixel losses, and the two adversarial losses of SRGAN and ESRGAN.

Pixel losses are means over all values. A regression step takes them on 0..255, in grey levels (mse: squared, so that
100 is a PSNR of 28.1 dB); a step against a discriminator on 0..1. Adam's updates are the same on either scale.

Adversarial losses are of logits D(x), (N,) float32, and judge the real images against the generated ones:

    vanilla (Goodfellow et al. 2014; SRGAN, Ledig et al. 2017): each on its own, r = D(real), f = D(fake)
        generator       -log sigmoid(f)                          the form that does not saturate
        discriminator   -log sigmoid(r) - log(1 - sigmoid(f))
    relativistic average (Jolicoeur-Martineau 2018; ESRGAN, Wang et al. 2018): r = D(real) - mean D(fake), f = D(fake) -
        mean D(real), with both means over the whole batch
        generator       1/2 [-log(1 - sigmoid(r)) - log sigmoid(f)]
        discriminator   1/2 [-log sigmoid(r) - log(1 - sigmoid(f))]
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, softplus

CHARBONNIER_EPS = 1e-3  # on 0..1 (Lai et al. 2017, LapSRN)

# of the generated and the true images, and the value that white has on their scale
PixelLoss = Callable[[Tensor, Tensor, float], Tensor]
Adversarial = Literal["vanilla", "relativistic"]


def l1(sr: Tensor, hr: Tensor, _peak: float) -> Tensor:
    """Mean absolute error."""
    return l1_loss(sr, hr)


def mse(sr: Tensor, hr: Tensor, _peak: float) -> Tensor:
    """Mean squared error."""
    return mse_loss(sr, hr)


def charbonnier(sr: Tensor, hr: Tensor, peak: float) -> Tensor:
    """Mean of sqrt(d^2 + eps^2), with eps 1e-3 of `peak`: the same curve on every scale."""
    return torch.sqrt(torch.square(sr - hr) + (CHARBONNIER_EPS * peak) ** 2).mean()


LOSSES: dict[str, PixelLoss] = {"l1": l1, "mse": mse, "charbonnier": charbonnier}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The adversarial losses of N real and N generated images, and their gradients with respect to the logits."""

    to_generator: Tensor  # (N,) of the generator's loss, to D(fake)
    to_real: Tensor  # (N,) of the discriminator's loss, to D(real)
    to_fake: Tensor  # (N,) of the discriminator's loss, to D(fake)
    generator: Tensor  # the generator's loss, a scalar
    discriminator: Tensor  # the discriminator's loss, a scalar
    accuracy: Tensor  # share of the images that the discriminator is right about, mean of real and generated ones

    def part(self, place: slice, weight: float = 1.0) -> "Judgement":
        """That of the images at `place`, its gradients times `weight`."""
        gradients = {name: getattr(self, name)[place] * weight for name in ("to_generator", "to_real", "to_fake")}
        return dataclasses.replace(self, **gradients)


@torch.enable_grad()
def judge(kind: Adversarial, real: Tensor, fake: Tensor) -> Judgement:
    """What the logits `real` and `fake`, (N,) each, mean; nothing of it is tied to the graph that they came from."""
    real, fake = (logits.detach().float().requires_grad_() for logits in (real, fake))
    generator, discriminator = generator_loss(kind, real, fake), discriminator_loss(kind, real, fake)
    (to_generator,) = torch.autograd.grad(generator, fake, retain_graph=True)
    to_real, to_fake = torch.autograd.grad(discriminator, (real, fake))
    return Judgement(
        to_generator=to_generator,
        to_real=to_real,
        to_fake=to_fake,
        generator=generator.detach(),
        discriminator=discriminator.detach(),
        accuracy=accuracy(kind, real.detach(), fake.detach()),
    )


def generator_loss(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """How far the discriminator is from taking the generated images for real ones, from its logits (N,)."""
    r, f = _compared(kind, real, fake)
    return softplus(-f).mean() if kind == "vanilla" else (softplus(r).mean() + softplus(-f).mean()) / 2


def discriminator_loss(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """How far the discriminator is from telling them apart, from its logits (N,)."""
    r, f = _compared(kind, real, fake)
    both = softplus(-r).mean() + softplus(f).mean()
    return both if kind == "vanilla" else both / 2


def accuracy(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """The mean of the shares of real and of generated images that the discriminator is right about, 0..1."""
    r, f = _compared(kind, real, fake)
    return ((r > 0).float().mean() + (f <= 0).float().mean()) / 2


def _compared(kind: Adversarial, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return (real, fake) if kind == "vanilla" else (real - fake.mean(), fake - real.mean())
