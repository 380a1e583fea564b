"""One step of a generator against a discriminator: SRGAN (Ledig et al. 2017), ESRGAN (Wang et al. 2018).

    generator       content_weight * content + pixel_weight * train.loss + weight * adversarial, images on 0..1
    discriminator   its own loss (losses.py), on the same crops

Both gradients are of the weights before the step, as in BasicSR, where the generator's update comes first and the
discriminator sees the images from before it. So the discriminator judges the real and the generated crops once each
(apart: their batch statistics differ), and each of its two gradients is a backward pass from the logits: one to the
generated image alone, which goes on into the generator, one to the discriminator's own parameters alone.

Shapes: B global batch, b crops of this rank or of a part of its share, h w LR crop, S scale.
"""

import torch
from torch import Tensor, nn

from sr_core import faults
from sr_core.params import Params
from sr_core.precision import Precision, autocast
from sr_core.train.batch_norm import statistics_kept
from sr_core.train.losses import LOSSES, Judgement, judge
from sr_core.train.state import TrainState
from sr_core.train.step import PEAK, Step
from sr_core.world import World

CONTENT, PIXEL, GENERATOR, DISCRIMINATOR, ACCURACY, SQUARES = (
    "content",
    "pixel",
    "generator",
    "discriminator",
    "accuracy",
    "squares",  # of the adversarial term's gradient at the generator's output
)


class AdversarialStep(Step):
    """Takes generator and discriminator one step further, on this rank's share of the global batch."""

    def __init__(
        self, state: TrainState, params: Params, world: World, precision: Precision, features: nn.Module | None
    ) -> None:
        """`features` maps images on 0..1 to what their content is compared by; None: there is no such term."""
        terms = [CONTENT] * (features is not None) + [PIXEL] * (params.adversarial.pixel_weight > 0)
        scalars = (*terms, GENERATOR, DISCRIMINATOR, ACCURACY, SQUARES)
        super().__init__(state, params.train, world, precision, scalars=scalars)
        assert state.discriminator is not None
        assert params.adversarial.loss != "none"
        self._adversarial, self._kind, self._features = params.adversarial, params.adversarial.loss, features
        self._discriminator = state.discriminator
        self._judges = list(state.discriminator.parameters())
        self._share = world.share(params.train.batch)
        self._sums: dict[str, Tensor] = {}

    @property
    def values(self) -> dict[str, Tensor]:
        """The terms of both losses, unweighted; the discriminator's accuracy; the adversarial gradient's norm."""
        names = [name for name in self._sums if name != SQUARES]
        values = {f"adversarial/{name}": self.gradients.scalar(name) for name in names}
        return {**values, "adversarial/gradient_norm": self.gradients.scalar(SQUARES).sqrt()}

    def _backward(self, lr: Tensor, hr: Tensor, *, stop: bool) -> None:
        self._sums = {}
        parts, whole = self._parts(len(lr)), None
        if self._kind == "relativistic" and len(parts) > 1:
            whole = self._judged_beforehand(lr, hr, parts)
        for part in parts:
            self._backward_of_part(lr[part], hr[part], None if whole is None else whole.part(part))
        faults.point("backward")
        self.gradients.reduce(self._total(), stop=stop, share=self._weight(len(lr)), scalars=self._sums)

    def _backward_of_part(self, lr: Tensor, hr: Tensor, judged: Judgement | None) -> None:
        sr = self._enlarge(lr)  # (b, 3, h, w) -> (b, 3, S*h, S*w)
        fake, real = (sr.detach() / PEAK).requires_grad_(), hr / PEAK
        real_logits, fake_logits = self._logits(real), self._logits(fake)
        if judged is None:
            judged = self._judged(real_logits.detach(), fake_logits.detach())
        (adversarial,) = torch.autograd.grad(fake_logits, fake, judged.to_generator, retain_graph=True)
        torch.autograd.backward(
            (real_logits, fake_logits), (judged.to_real, judged.to_fake), inputs=self._judges
        )  # to the parameters alone: a gradient of `fake` is the generator's affair
        gradient = self._adversarial.weight * adversarial
        self._note(judged, gradient, len(lr))
        gradient = gradient + self._image_gradient(fake, real)
        torch.autograd.backward(sr, gradient / PEAK)

    def _logits(self, images: Tensor) -> Tensor:
        """(b, 3, S*h, S*w) on 0..1 -> (b,) float32."""
        with autocast(self._world.device, self._precision):
            logits: Tensor = self._discriminator(images)
        return logits.float().flatten()

    def _judged(self, real: Tensor, fake: Tensor) -> Judgement:
        """The losses of these crops (b,): vanilla ones alone, relativistic ones against the whole batch."""
        if self._kind == "vanilla":
            return judge(self._kind, real, fake).part(slice(None), self._weight(len(real)))
        everyone = torch.zeros(2, self._params.batch, device=real.device)
        mine = slice(self._share.start, self._share.stop)
        everyone[0, mine], everyone[1, mine] = real, fake
        self._world.sum_in_place(everyone)
        return judge(self._kind, everyone[0], everyone[1]).part(mine)

    @torch.no_grad()
    def _judged_beforehand(self, lr: Tensor, hr: Tensor, parts: list[slice]) -> Judgement:
        """As `_judged`, of all parts of this rank's share: a relativistic loss needs every logit of the batch first."""
        with statistics_kept(self._state.network, self._discriminator):
            pairs = [(self._logits(hr[part] / PEAK), self._logits(self._enlarge(lr[part]) / PEAK)) for part in parts]
        real, fake = (torch.cat(each) for each in zip(*pairs, strict=True))
        return self._judged(real, fake)

    def _image_gradient(self, fake: Tensor, real: Tensor) -> Tensor:
        """The gradient of content and pixel loss with respect to the generated images on 0..1."""
        params, losses = self._adversarial, dict[str, tuple[float, Tensor]]()
        if self._features is not None:
            with autocast(self._world.device, self._precision):
                with torch.no_grad():
                    target = self._features(real)
                found = self._features(fake)
            losses[CONTENT] = params.content_weight, LOSSES[params.content_loss](found.float(), target.float(), 1.0)
        if params.pixel_weight > 0:
            losses[PIXEL] = params.pixel_weight, LOSSES[self._params.loss](fake, real, 1.0)
        if not losses:
            return torch.zeros_like(fake)
        weight = self._weight(len(fake))
        for name, (_, loss) in losses.items():
            self._add(name, loss.detach() * weight)
        total = torch.stack([factor * weight * loss for factor, loss in losses.values()]).sum()
        (gradient,) = torch.autograd.grad(total, fake)
        return gradient

    def _note(self, judged: Judgement, gradient: Tensor, num: int) -> None:
        weight = self._weight(num)
        self._add(GENERATOR, judged.generator * weight)
        self._add(DISCRIMINATOR, judged.discriminator * weight)
        self._add(ACCURACY, judged.accuracy * weight)
        self._add(SQUARES, gradient.square().sum())

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _total(self) -> Tensor:
        """The generator's loss on this rank, as it counts in the global batch."""
        params = self._adversarial
        factors = {CONTENT: params.content_weight, PIXEL: params.pixel_weight, GENERATOR: params.weight}
        return torch.stack([factor * self._sums[name] for name, factor in factors.items() if name in self._sums]).sum()
