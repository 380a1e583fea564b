"""Which registered version of a model is its champion: one pure decision.

A version takes the title only with a strictly better mean PSNR on the same test set by the same protocol. Numbers
by another protocol or on other images cannot be compared, so such a version is refused, with the reason said;
evaluating and registering the champion again that way makes them comparable.

A network that was trained against a discriminator gives up PSNR on purpose: its mean NIQE decides instead, by the same
pristine model, and only if NIQE was found to tell such a network from noise.
"""

import dataclasses
import math
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What one registered version measured, and how."""

    version: int
    protocol: str
    precision: str  # the number format the network computed in
    test_set: str
    test_set_digest: str
    psnr: float  # mean over the test set, dB
    ssim: float
    perceptual: "PerceptualFigures | None" = None  # what decides in place of PSNR, for an adversarial network

    def to_tags(self) -> dict[str, str]:
        """As the version's tags in the registry; floats in full."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: value for name, value in values.items() if name not in {"version", "perceptual"}}
        if self.perceptual:
            plain |= {f"perceptual.{name}": value for name, value in dataclasses.asdict(self.perceptual).items()}
        return {f"{_PREFIX}{name}": str(value) for name, value in plain.items()}

    @classmethod
    def from_tags(cls, version: int, tags: Mapping[str, str]) -> "Figures | None":
        """The reverse of `to_tags`; None if a tag is missing or not what it should be."""
        try:
            return cls(
                version=version,
                protocol=tags[f"{_PREFIX}protocol"],
                precision=tags[f"{_PREFIX}precision"],
                test_set=tags[f"{_PREFIX}test_set"],
                test_set_digest=tags[f"{_PREFIX}test_set_digest"],
                psnr=float(tags[f"{_PREFIX}psnr"]),
                ssim=float(tags[f"{_PREFIX}ssim"]),
                perceptual=PerceptualFigures.from_tags(tags),
            )
        except (KeyError, ValueError):
            return None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PerceptualFigures:
    """The perceptual score of one version: lower is better."""

    metric: str
    label: str  # what the score's pristine model was fitted on
    digest: str  # of that model
    score: float | None  # mean over the test set; None: its images are too small
    discriminates: bool | None  # whether noise scores worse; None: not measured

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "PerceptualFigures | None":
        """The reverse of what `Figures.to_tags` makes of it; None if there is none.

        Raises:
            KeyError, ValueError: a tag is missing or not what it should be.
        """
        prefix = f"{_PREFIX}perceptual."
        own = {name.removeprefix(prefix): value for name, value in tags.items() if name.startswith(prefix)}
        if not own:
            return None
        return cls(
            metric=own["metric"],
            label=own["label"],
            digest=own["digest"],
            score=None if own["score"] == "None" else float(own["score"]),
            discriminates={"None": None, "True": True, "False": False}[own["discriminates"]],
        )


_PREFIX = "sr."


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredVersion:
    """A model in the registry, and whether it is its name's champion, with the reason for that."""

    name: str
    version: int
    run_id: str
    weights_sha256: str
    champion: bool
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether a version is champion after it was measured, and why."""

    champion: bool
    reason: str


def decide(new: Figures, champion: Figures | None, *, as_good_suffices: bool = False) -> Decision:
    """Whether `new` takes the title from `champion` (None: there is none).

    `as_good_suffices` is for a person who has a reason, such as a network half as large.
    """
    if not math.isfinite(new.psnr):
        return _refused(f"its mean PSNR is {new.psnr}, expected a finite number")
    if flaw := _flaw(new.perceptual):
        return _refused(flaw)
    if champion is None:
        return Decision(champion=True, reason="first: no other version holds the title")
    if new.version == champion.version:
        return Decision(champion=True, reason=f"it holds the title, with {_said(new)}")
    holder = f"champion version {champion.version}"
    ways = [f"{one.protocol} in {one.precision}" for one in (new, champion)]
    if ways[0] != ways[1]:
        return _refused(f"measured by {ways[0]}, {holder} by {ways[1]}: not comparable")
    if new.test_set_digest != champion.test_set_digest:
        sets = [f"{one.test_set} ({one.test_set_digest[:8]})" for one in (new, champion)]
        return _refused(f"measured on {sets[0]}, {holder} on {sets[1]}: not comparable")
    scales = [_scale(one.perceptual) for one in (new, champion)]
    if scales[0] != scales[1]:
        return _refused(f"judged by {scales[0]}, {holder} by {scales[1]}: not comparable")
    compared = f"{_said(new)} against {_said(champion)} of version {champion.version}"
    if _merit(new) > _merit(champion):
        return Decision(champion=True, reason=f"better: {compared}")
    if as_good_suffices and _merit(new) == _merit(champion):
        return Decision(champion=True, reason=f"as good: {compared}")
    return _refused(f"not better: {compared}")


def _refused(reason: str) -> Decision:
    return Decision(champion=False, reason=f"refused: {reason}")


def _flaw(perceptual: PerceptualFigures | None) -> str | None:
    """Why the score cannot decide, if it cannot."""
    if perceptual is None:
        return None
    name = perceptual.metric.upper()
    if perceptual.score is None or not math.isfinite(perceptual.score):
        return f"an adversarial network is judged by {name}, and its mean is {perceptual.score}, expected a number"
    if perceptual.discriminates is None:
        return (
            f"whether {name} tells it from noise was not measured: evaluate it where the network is that it began with"
        )
    if not perceptual.discriminates:
        return f"{name} does not discriminate: it scores noise of the same PSNR no worse"
    return None


def _scale(perceptual: PerceptualFigures | None) -> str:
    """What is compared, in words."""
    return "PSNR" if perceptual is None else f"{perceptual.label} ({perceptual.digest[:8]})"


def _merit(figures: Figures) -> float:
    """More is better."""
    if figures.perceptual is None:
        return figures.psnr
    return -math.inf if figures.perceptual.score is None else -figures.perceptual.score


def _said(figures: Figures) -> str:
    if figures.perceptual is None or figures.perceptual.score is None:
        return f"{figures.psnr:.4f} dB"
    return f"{figures.perceptual.metric.upper()} {figures.perceptual.score:.4f} ({figures.psnr:.2f} dB)"
