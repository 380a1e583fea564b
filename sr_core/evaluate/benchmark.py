"""Networks measured beside bicubic on one set of images under one protocol.

Bicubic is a model in the table like any other: a gain is only worth what the baseline of the same run, protocol
and images says. Evaluation computes in float32 unless told otherwise, so that a model's figures, and with them
which version is champion, do not depend on the machine's number formats.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core.errors import ConfigError, ImageError, SrError, listed
from sr_core.evaluate import metrics
from sr_core.evaluate.perceptual import Judge, Perceptual, noisy
from sr_core.models.interpolation import Bicubic
from sr_core.precision import resolve
from sr_core.progress import QUIET, Progress
from sr_core.upscale import AnyPrecision, device_of, upscale

BASELINE = "bicubic"
VERSION = 1


class EvalImages(Protocol):
    """What can be evaluated on: LR and HR images in pairs, HR being `scale` times as large."""

    @property
    def scale(self) -> int:
        """HR side / LR side."""

    @property
    def keys(self) -> Sequence[str]:
        """One name per pair."""

    @property
    def digest(self) -> str:
        """Changes when a pixel changes."""

    def __len__(self) -> int: ...

    def lr(self, i: int) -> NDArray[np.uint8]:
        """(H, W, 3)."""

    def hr(self, i: int) -> NDArray[np.uint8]:
        """(S*H, S*W, 3)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """One network on one image."""

    model: str
    image: str
    psnr: float  # dB; inf when every pixel is right
    ssim: float
    seconds: float  # upscaling alone
    niqe: float | None = None  # lower is better; None: not measured, or the image is too small


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """The means of a network's scores over the images."""

    psnr: float
    ssim: float
    seconds: float
    niqe: float | None = None  # over the images for which every network has one


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
            niqe=self._mean_niqe(model),
        )

    def _mean_niqe(self, model: str) -> float | None:
        without = {score.image for score in self.scores if score.niqe is None}
        own = [score.niqe for score in self.scores if score.model == model and score.image not in without]
        values = [value for value in own if value is not None]
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

    def describe(self) -> str:
        """What stands beside every figure: `x4, sample, benchmark-y (Y, 4 pixels shaved), float32`."""
        return f"x{self.scale}, {self.test_set}, {self.protocol.describe(self.scale)}, {self.precision}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, from which `from_dict` makes the same report; means are there for readers only."""
        protocol = {"name": self.protocol.name, "channel": self.protocol.channel}
        return {
            "version": VERSION,
            "protocol": {**protocol, "shave_px": self.protocol.shave_of(self.scale)},
            "scale": self.scale,
            "test_set": self.test_set,
            "test_set_digest": self.test_set_digest,
            "precision": self.precision,
            "weights": dict(self.weights),
            **({"perceptual": dataclasses.asdict(self.perceptual)} if self.perceptual else {}),
            "means": {model: _plain(self.mean(model)) for model in self.models},
            "scores": [_plain(score) for score in self.scores],
        }


def _plain(value: Any) -> dict[str, Any]:
    # JSON has no infinity: null stands for the PSNR of an image whose every pixel is right
    return {key: None if item == math.inf else item for key, item in dataclasses.asdict(value).items()}


def from_dict(tree: Mapping[str, Any]) -> EvalReport:
    """The report whose `to_dict` is `tree`; KeyError, TypeError or ValueError if there is none."""
    protocol = metrics.PROTOCOLS[tree["protocol"]["name"]]
    expected = (VERSION, protocol.channel, protocol.shave_of(tree["scale"]))
    found = (tree["version"], tree["protocol"]["channel"], tree["protocol"]["shave_px"])
    if found != expected:
        raise ValueError(f"version, channel and shave are {found}, {protocol.name} has {expected}")
    scores = [{**score, "psnr": math.inf if score["psnr"] is None else score["psnr"]} for score in tree["scores"]]
    return EvalReport(
        protocol=protocol,
        scores=tuple(ImageScore(**score) for score in scores),
        perceptual=Perceptual(**tree["perceptual"]) if "perceptual" in tree else None,
        **{key: tree[key] for key in ("scale", "test_set", "test_set_digest", "precision", "weights")},
    )


def read_report(path: Path) -> EvalReport:
    """The report in the JSON file at `path`.

    Raises:
        SrError: there is none, or it was not written by this version.
    """
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SrError(f"{path}: cannot be read ({error.strerror}); evaluate the model first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SrError(f"{path}: is not a report of this version ({error}); evaluate the model again") from None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """One image when all networks are done with it."""

    image: str
    hr: NDArray[np.uint8]  # (S*H, S*W, 3)
    results: Mapping[str, NDArray[np.uint8]]  # by network, as large as hr
    scores: Mapping[str, ImageScore]  # by network


def evaluate(
    networks: Mapping[str, nn.Module],
    images: EvalImages,
    *,
    protocol: metrics.Protocol,
    test_set: str,
    precision: AnyPrecision = "float32",
    device: torch.device | None = None,
    tile: int | None = None,
    judge: Judge | None = None,
    progress: Progress = QUIET,
    observe: Callable[[Evaluated], None] | None = None,
) -> EvalReport:
    """Every network, and bicubic, on every image; all go through the same tiled upscale.

    `judge` scores how every result looks, and adds the control (see `sr_core.evaluate.perceptual`). `observe` is called
    after each image, so that pictures need no second pass and one image's results are held.

    Raises:
        ImageError: lists every image whose sizes do not fit the scale or the protocol.
        ConfigError: a network has another scale than the images.
    """
    _check_scales(networks, images.scale)
    _check_sizes(images, protocol)
    place = device or device_of(nn.ModuleList(networks.values()))
    all_networks = {BASELINE: Bicubic(images.scale), **networks}
    progress.start(f"evaluate on {test_set}", len(images) * len(all_networks))
    scores: list[ImageScore] = []
    originals: list[float | None] = []
    for i, key in enumerate(images.keys):
        lr, hr, results = images.lr(i), images.hr(i), {}
        own: dict[str, ImageScore] = {}
        for name, network in all_networks.items():
            begun_s = time.perf_counter()
            results[name] = upscale(network, lr, device=place, precision=precision, tile=tile)
            seconds = time.perf_counter() - begun_s
            own[name] = _score(name, key, results[name], hr, protocol, images.scale, judge, seconds)
            progress.advance()
        if judge and judge.judged and judge.parent and judge.control:
            parent, psnr = results[judge.parent], own[judge.judged].psnr
            made = noisy(parent, hr, psnr=psnr, key=key, protocol=protocol, scale=images.scale)
            results[judge.control] = made
            own[judge.control] = _score(judge.control, key, made, hr, protocol, images.scale, judge, 0.0)
        originals.append(judge.score(hr, images.scale) if judge else None)
        scores.extend(own.values())
        if observe is not None:
            observe(Evaluated(image=key, hr=hr, results=results, scores=own))
    return EvalReport(
        protocol=protocol,
        scale=images.scale,
        test_set=test_set,
        test_set_digest=images.digest,
        precision=resolve(precision, place),
        scores=tuple(scores),
        perceptual=judge.record(images.scale, originals) if judge else None,
    )


def _score(
    model: str,
    image: str,
    result: NDArray[np.uint8],
    hr: NDArray[np.uint8],
    protocol: metrics.Protocol,
    scale: int,
    judge: Judge | None,
    seconds: float,
) -> ImageScore:
    return ImageScore(
        model=model,
        image=image,
        psnr=metrics.psnr(result, hr, protocol=protocol, scale=scale),
        ssim=metrics.ssim(result, hr, protocol=protocol, scale=scale),
        seconds=seconds,
        niqe=judge.score(result, scale) if judge else None,
    )


def _check_scales(networks: Mapping[str, nn.Module], scale: int) -> None:
    wrong = [f"{name}: x{network.scale}" for name, network in networks.items() if network.scale != scale]
    if wrong:
        raise ConfigError(f"the images are for x{scale}, expected networks of that scale:{listed(wrong)}")


def _check_sizes(images: EvalImages, protocol: metrics.Protocol) -> None:
    scale = images.scale
    least = 2 * protocol.shave_of(scale) + metrics.WINDOW
    wrong = []
    for i, key in enumerate(images.keys):
        (height, width, _), lr = images.hr(i).shape, images.lr(i).shape
        if (height, width) != (lr[0] * scale, lr[1] * scale):
            wrong.append(f"{key}: HR is {width}x{height}, LR {lr[1]}x{lr[0]}, expected HR = {scale} x LR")
        elif min(height, width) < least:
            wrong.append(f"{key}: HR is {width}x{height}, expected at least {least} pixels a side")
    if wrong or not len(images):
        found = f"{len(wrong)} images do not fit" if wrong else "there are no images"
        raise ImageError(
            f"x{scale}, {protocol.describe(scale)}: {found}; take them out or choose others:{listed(wrong)}"
        )
