"""What an evaluation leaves: every score, what makes it comparable, and what is known of each network.

A report goes to JSON and back without a loss. What stands there for readers only (the protocol's constants, means,
published figures beside ours) is made anew from the rest.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sr_core.errors import SrError
from sr_core.evaluate import metrics
from sr_core.evaluate.perceptual import Perceptual

BASELINE = "bicubic"
VERSION = 2
READABLE = (1, VERSION)  # 1 had neither facts nor LPIPS, and did not say where LR came from
ENSEMBLE = "+"  # behind a network's name: the mean over the 8 symmetries, as the EDSR paper writes it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """One network on one image."""

    model: str
    image: str
    psnr: float  # dB; inf when every pixel is right
    ssim: float
    seconds: float  # upscaling alone
    niqe: float | None = None  # lower is better; None: not measured, or the image is too small
    lpips: float | None = None  # lower is better; None: not measured, or the image is too small


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """The means of a network's scores over the images."""

    psnr: float
    ssim: float
    seconds: float
    niqe: float | None = None  # over the images for which every network has one
    lpips: float | None = None  # likewise


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a network of the table."""

    num_parameters: int | None  # None: the network does not tell
    seconds_per_megapixel: float  # of HR, upscaling alone, over all images
    architecture: str | None = None  # its name in the table of networks
    preset: str | None = None
    ensemble: bool = False  # the mean over the 8 symmetries
    trained_on: str | None = None  # data set and degradation, by its card


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """What stands beside LPIPS and makes it comparable."""

    label: str  # `LPIPS 0.1 (alex, …)`
    digest: str  # of all its weights
    crop: int  # HR pixels left out on every side


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvalReport:
    """Every score, and what makes the numbers comparable with others: protocol, scale, images, precision."""

    protocol: metrics.Protocol
    scale: int
    test_set: str
    test_set_digest: str
    precision: str
    scores: tuple[ImageScore, ...]
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)  # sha256 by network, where it is known
    perceptual: Perceptual | None = None  # of the perceptual scores, where there are any
    learned: Learned | None = None  # of LPIPS, where it was measured
    degradation: str = "bicubic"  # of the LR images
    lr_source: str | None = None  # where LR came from: `files`, `made here: bicubic, border clamp`; None: unknown
    facts: Mapping[str, Facts] = dataclasses.field(default_factory=dict)  # by network, where it is one

    @property
    def models(self) -> tuple[str, ...]:
        """The networks in the order in which they were given, bicubic first."""
        return tuple(dict.fromkeys(score.model for score in self.scores))

    @property
    def images(self) -> tuple[str, ...]:
        """The images in order."""
        return tuple(dict.fromkeys(score.image for score in self.scores))

    def score(self, model: str, image: str) -> ImageScore:
        """The score of `model` on `image`; KeyError if it was not measured."""
        for score in self.scores:
            if (score.model, score.image) == (model, image):
                return score
        raise KeyError((model, image))

    def mean(self, model: str) -> Mean:
        """The mean over all images; of PSNR the mean of the decibels, as papers have it."""
        scores = [score for score in self.scores if score.model == model]
        if not scores:
            raise KeyError(model)
        return Mean(
            psnr=math.fsum(score.psnr for score in scores) / len(scores),
            ssim=math.fsum(score.ssim for score in scores) / len(scores),
            seconds=math.fsum(score.seconds for score in scores) / len(scores),
            niqe=self._mean_of_known(model, lambda score: score.niqe),
            lpips=self._mean_of_known(model, lambda score: score.lpips),
        )

    def _mean_of_known(self, model: str, value: Callable[[ImageScore], float | None]) -> float | None:
        without = {score.image for score in self.scores if value(score) is None}
        own = [value(score) for score in self.scores if score.model == model and score.image not in without]
        values = [each for each in own if each is not None]
        return math.fsum(values) / len(values) if values else None

    def gain_db(self, model: str) -> float:
        """By how many dB `model`'s mean PSNR is above bicubic's."""
        return self.mean(model).psnr - self.mean(BASELINE).psnr

    @property
    def discriminates(self) -> bool | None:
        """Whether noise scores worse than the network it is to stand for and worse than what it was added to.

        Else the perceptual score takes noise for detail, and says nothing of the judged network; None where that was
        not measured.
        """
        about = self.perceptual
        if about is None or about.judged is None or about.parent is None or about.control is None:
            return None
        own, parent, control = (self.mean(name).niqe for name in (about.judged, about.parent, about.control))
        return None if own is None or parent is None or control is None else control > max(own, parent)

    @property
    def set_named(self) -> str:
        """The test set, with its degradation where it is not the usual one: `DIV2K validation, mild`."""
        return self.test_set if self.degradation == "bicubic" else f"{self.test_set}, {self.degradation}"

    def describe(self) -> str:
        """What stands beside every figure: `x4, sample, benchmark-y (Y, 4 pixels shaved), float32`."""
        return f"x{self.scale}, {self.set_named}, {self.protocol.describe(self.scale)}, {self.precision}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, from which `from_dict` makes the same report; means are there for readers only."""
        return {
            "version": VERSION,
            "protocol": self.protocol.record(self.scale),
            "scale": self.scale,
            "test_set": self.test_set,
            "test_set_digest": self.test_set_digest,
            "degradation": self.degradation,
            "lr_source": self.lr_source,
            "precision": self.precision,
            "weights": dict(self.weights),
            **({"perceptual": dataclasses.asdict(self.perceptual)} if self.perceptual else {}),
            **({"learned": dataclasses.asdict(self.learned)} if self.learned else {}),
            "models": {model: dataclasses.asdict(facts) for model, facts in self.facts.items()},
            "means": {model: _plain(self.mean(model)) for model in self.models},
            "scores": [_plain(score) for score in self.scores],
        }


def _plain(value: Any) -> dict[str, Any]:
    # JSON has no infinity: null stands for the PSNR of an image whose every pixel is right
    return {key: None if item == math.inf else item for key, item in dataclasses.asdict(value).items()}


def from_dict(tree: Mapping[str, Any]) -> EvalReport:
    """The report whose `to_dict` is `tree`; KeyError, TypeError or ValueError if there is none."""
    protocol, scale, version = metrics.PROTOCOLS[tree["protocol"]["name"]], tree["scale"], tree["version"]
    if version not in READABLE:
        raise ValueError(f"version {version}, expected {' or '.join(map(str, READABLE))}")
    expected = protocol.record(scale)
    # the oldest say of their protocol its name, channel and shave; what is said must be what it is today
    wrong = [key for key, value in tree["protocol"].items() if expected.get(key) != value]
    if wrong:
        said = ", ".join(f"{key} is {tree['protocol'][key]!r}, not {expected.get(key)!r}" for key in wrong)
        raise ValueError(f"{protocol.name}'s {said}")
    scores = [{**score, "psnr": math.inf if score["psnr"] is None else score["psnr"]} for score in tree["scores"]]
    return EvalReport(
        protocol=protocol,
        scores=tuple(ImageScore(**score) for score in scores),
        perceptual=Perceptual(**tree["perceptual"]) if "perceptual" in tree else None,
        learned=Learned(**tree["learned"]) if "learned" in tree else None,
        degradation=tree.get("degradation", "bicubic"),
        lr_source=tree.get("lr_source"),
        facts={model: Facts(**facts) for model, facts in tree.get("models", {}).items()},
        **{key: tree[key] for key in ("scale", "test_set", "test_set_digest", "precision", "weights")},
    )


def read_report(path: Path) -> EvalReport:
    """The report in the JSON file at `path`, also of an earlier version.

    Raises:
        SrError: there is none, or it is damaged or of a version that is not known.
    """
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SrError(f"{path}: cannot be read ({error.strerror}); evaluate the model first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SrError(f"{path}: is not a report of this version ({error}); evaluate the model again") from None
