"""Networks measured beside bicubic on one set of images under one protocol.

Bicubic is a model in the table like any other: a gain is only worth what the baseline of the same run, protocol
and images says. Evaluation computes in float32 unless told otherwise, so that a model's figures, and with them
which version is champion, do not depend on the machine's number formats.

Several ranks measure an image each, then the next. Who measured an image is of no account to its scores, so the report
is that of one process, but for the times.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core.errors import ConfigError, ImageError, listed
from sr_core.evaluate import metrics
from sr_core.evaluate.lpips import Lpips
from sr_core.evaluate.perceptual import Judge, noisy
from sr_core.evaluate.records import (
    BASELINE,
    ENSEMBLE,
    EvalReport,
    Facts,
    ImageScore,
    Mean,
    from_dict,
    read_report,
)
from sr_core.models import MODELS, config_of
from sr_core.models.card import UNKNOWN, Card
from sr_core.models.interpolation import Bicubic, Interpolation
from sr_core.precision import resolve
from sr_core.progress import QUIET, Progress
from sr_core.upscale import AnyPrecision, device_of, upscale
from sr_core.world import World

__all__ = [
    "BASELINE",
    "EvalImages",
    "EvalReport",
    "Evaluated",
    "ImageScore",
    "Mean",
    "evaluate",
    "from_dict",
    "read_report",
]

T = TypeVar("T")

_WARM = 24  # LR pixels a side of what a network enlarges before its time is taken


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
class Evaluated:
    """One image when all networks are done with it."""

    image: str
    hr: NDArray[np.uint8]  # (S*H, S*W, 3)
    results: Mapping[str, NDArray[np.uint8]]  # by network, as large as hr
    scores: Mapping[str, ImageScore]  # by network
    lr: NDArray[np.uint8]  # (H, W, 3)


def evaluate(
    networks: Mapping[str, nn.Module],
    images: EvalImages,
    *,
    protocol: metrics.Protocol,
    test_set: str,
    degradation: str = "bicubic",
    lr_source: str | None = None,
    precision: AnyPrecision = "float32",
    device: torch.device | None = None,
    tile: int | None = None,
    ensemble: Collection[str] = (),
    cards: Mapping[str, Card] | None = None,
    judge: Judge | None = None,
    lpips: Lpips | None = None,
    world: World | None = None,
    progress: Progress = QUIET,
    observe: Callable[[Evaluated], None] | None = None,
) -> EvalReport:
    """Every network, and bicubic, on every image; all go through the same tiled upscale.

    `ensemble` names networks that are measured a second time as `<name>+`, the mean over the 8 symmetries. `judge`
    scores how every result looks, and adds the control (see `sr_core.evaluate.perceptual`). `cards` say what the
    networks are, as far as that is known. `observe` is called after each image, on the rank that measured it, so that
    pictures need no second pass and one image's results are held. Every rank of `world` returns the whole report.

    Raises:
        ImageError: lists every image that cannot be read or whose sizes do not fit the scale or the protocol.
        ConfigError: a network has another scale than the images, or weights that are not finite.
    """
    group, cards = world or World(), cards or {}
    _check_networks(networks, images.scale)
    areas = _checked_areas(images, protocol, group)
    place = device or device_of(nn.ModuleList(networks.values()))
    rows = _rows({BASELINE: Bicubic(images.scale), **networks}, cards, ensemble)
    job = _Job(
        rows=rows,
        images=images,
        protocol=protocol,
        judge=judge,
        lpips=lpips,
        enlarge=functools.partial(_enlarged, device=place, precision=precision, tile=tile),
    )
    progress.start(f"evaluate on {test_set}", len(images) * len(rows))
    measured = _over_ranks(job, areas, group, progress, observe)
    scores = tuple(score for each in measured for score in each.scores.values())
    return EvalReport(
        protocol=protocol,
        scale=images.scale,
        test_set=test_set,
        test_set_digest=images.digest,
        precision=resolve(precision, place),
        scores=scores,
        weights={name: card.weights_sha256 for name, card in cards.items() if name in rows and card.weights_sha256},
        perceptual=judge.record(images.scale, [each.original for each in measured]) if judge else None,
        learned=lpips.record(images.scale) if lpips else None,
        degradation=degradation,
        lr_source=lr_source,
        facts={name: row.facts(_seconds(scores, name), sum(areas)) for name, row in rows.items()},
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One row of the table: a network and how it is used."""

    network: nn.Module
    card: Card | None = None
    ensemble: bool = False

    def facts(self, seconds: float, pixels: int) -> Facts:
        # a card without a preset is of none of MODELS, whatever it is called: an ONNX file that others wrote
        card, trained_on = self.card if self.card and self.card.preset else None, None
        if card is not None and card.dataset != UNKNOWN:
            trained_on = f"{card.dataset}, {card.degradation}"
        name = type(self.network).__name__.lower() if isinstance(self.network, Interpolation) else None
        return Facts(
            num_parameters=count_parameters(self.network),
            seconds_per_megapixel=seconds * 1e6 / pixels,
            architecture=card.model if card else name,
            preset=_preset_of(card) if card and not name else None,
            ensemble=self.ensemble,
            trained_on=trained_on,
        )


def _rows(networks: Mapping[str, nn.Module], cards: Mapping[str, Card], ensemble: Collection[str]) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    for name, network in networks.items():
        rows[name] = _Row(network=network, card=cards.get(name))
        if name in ensemble:
            rows[f"{name}{ENSEMBLE}"] = dataclasses.replace(rows[name], ensemble=True)
    return rows


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """The scores of one image, by network, and NIQE of its HR."""

    scores: Mapping[str, ImageScore]
    original: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is to be done with any image."""

    rows: Mapping[str, _Row]
    images: EvalImages
    protocol: metrics.Protocol
    judge: Judge | None
    lpips: Lpips | None
    enlarge: Callable[[_Row, NDArray[np.uint8]], NDArray[np.uint8]]

    def warm_up(self) -> None:
        """Lets every network choose its kernels before its time is taken."""
        for row in self.rows.values():
            self.enlarge(dataclasses.replace(row, ensemble=False), np.zeros((_WARM, _WARM, 3), np.uint8))

    def measure(
        self, i: int, progress: Progress = QUIET, observe: Callable[[Evaluated], None] | None = None
    ) -> _Measured:
        """Every network on image `i`."""
        key, lr, hr = self.images.keys[i], self.images.lr(i), self.images.hr(i)
        results: dict[str, NDArray[np.uint8]] = {}
        scores: dict[str, ImageScore] = {}
        for name, row in self.rows.items():
            begun_s = time.perf_counter()
            results[name] = self.enlarge(row, lr)
            seconds = time.perf_counter() - begun_s
            scores[name] = self._score(name, key, results[name], hr, seconds)
            progress.advance()
        judge, scale = self.judge, self.images.scale
        if judge and judge.judged and judge.parent and judge.control:
            parent, psnr = results[judge.parent], scores[judge.judged].psnr
            made = noisy(parent, hr, psnr=psnr, key=key, protocol=self.protocol, scale=scale)
            results[judge.control] = made
            scores[judge.control] = self._score(judge.control, key, made, hr, 0.0)
        if observe is not None:
            observe(Evaluated(image=key, hr=hr, results=results, scores=scores, lr=lr))
        return _Measured(scores=scores, original=judge.score(hr, scale) if judge else None)

    def _score(
        self, model: str, image: str, result: NDArray[np.uint8], hr: NDArray[np.uint8], seconds: float
    ) -> ImageScore:
        scale = self.images.scale
        return ImageScore(
            model=model,
            image=image,
            psnr=metrics.psnr(result, hr, protocol=self.protocol, scale=scale),
            ssim=metrics.ssim(result, hr, protocol=self.protocol, scale=scale),
            seconds=seconds,
            niqe=self.judge.score(result, scale) if self.judge else None,
            lpips=self.lpips.distance(result, hr, crop=scale) if self.lpips else None,
        )


def _enlarged(
    row: _Row, lr: NDArray[np.uint8], *, device: torch.device, precision: AnyPrecision, tile: int | None
) -> NDArray[np.uint8]:
    return upscale(row.network, lr, device=device, precision=precision, tile=tile, ensemble=row.ensemble)


def _over_ranks(
    job: _Job,
    areas: Sequence[int],
    world: World,
    progress: Progress,
    observe: Callable[[Evaluated], None] | None,
) -> list[_Measured]:
    """What was measured of every image, in order, on every rank; an error on one ends all after its image."""
    job.warm_up()
    if world.size == 1:
        return [job.measure(i, progress, observe) for i in range(len(areas))]
    # each rank has an image of about the same size, so that none waits for long
    order = sorted(range(len(areas)), key=lambda i: (-areas[i], i))
    done: dict[int, _Measured] = {}
    for start in range(0, len(order), world.size):
        mine = order[start + world.rank : start + world.rank + 1] if start + world.rank < len(order) else []
        value = patiently(world, lambda mine=mine: [job.measure(i, QUIET, observe) for i in mine])  # type: ignore[misc]
        for indices in world.gathered(dict(zip(mine, value, strict=True))):
            done |= indices
        progress.advance(len(job.rows) * len(order[start : start + world.size]))
    return [done[i] for i in range(len(areas))]


def patiently(world: World, call: Callable[[], T]) -> T:
    """What `call` returns on this rank, however long it takes; an error on one ends all."""
    return call() if world.size == 1 else world.meeting(call)  # type: ignore[return-value]


def count_parameters(network: nn.Module) -> int | None:
    """How many numbers were trained; of a network that hides them (ONNX), what its `num_parameters` says, or None."""
    said = getattr(network, "num_parameters", None)
    counted = said if isinstance(said, int) else sum(parameter.numel() for parameter in network.parameters())
    return counted if counted or isinstance(network, Interpolation) else None


def _preset_of(card: Card) -> str | None:
    """The preset of which the network has all sizes: an imported file names its options alone."""
    entry = MODELS[card.model]

    def sizes(preset: str, options: Mapping[str, Any]) -> dict[str, int]:
        config = config_of(card.model, scale=card.scale, preset=preset, options=options)
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        return {name: value for name, value in values.items() if type(value) is int}

    own = sizes(card.preset, card.options)
    return next((preset for preset in (card.preset, *entry.presets) if sizes(preset, {}) == own), None)


def _seconds(scores: Sequence[ImageScore], model: str) -> float:
    return sum(score.seconds for score in scores if score.model == model)


def _check_networks(networks: Mapping[str, nn.Module], scale: int) -> None:
    wrong = [f"{name}: x{network.scale}" for name, network in networks.items() if network.scale != scale]
    if wrong:
        raise ConfigError(f"the images are for x{scale}, expected networks of that scale:{listed(wrong)}")
    wrong = [
        f"{name}: {key} holds NaN or infinity"
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if wrong:
        raise ConfigError(f"weights are not finite, take other checkpoints:{listed(wrong)}")


def _checked_areas(images: EvalImages, protocol: metrics.Protocol, world: World) -> list[int]:
    """The HR pixels of every image."""
    mine = range(world.rank, len(images), world.size)
    own = patiently(world, lambda: [(i, *_look(images, i, protocol)) for i in mine])
    looked = sorted(entry for part in world.gathered(own) for entry in part)
    wrong = [line for _, _, line in looked if line]
    if wrong or not looked:
        found = f"{len(wrong)} images do not fit" if wrong else "there are no images"
        raise ImageError(
            f"x{images.scale}, {protocol.describe(images.scale)}: {found}; "
            f"take them out or choose others:{listed(wrong)}"
        )
    return [area for _, area, _ in looked]


def _look(images: EvalImages, i: int, protocol: metrics.Protocol) -> tuple[int, str]:
    """The HR pixels of image `i`, and what is wrong with it, if anything is."""
    key, scale = images.keys[i], images.scale
    try:
        (height, width, _), lr = images.hr(i).shape, images.lr(i).shape
    except ImageError as error:
        return 0, str(error)
    least = protocol.least_side(scale)
    if (height, width) != (lr[0] * scale, lr[1] * scale):
        return 0, f"{key}: HR is {width}x{height}, LR {lr[1]}x{lr[0]}, expected HR = {scale} x LR"
    if min(height, width) < least:
        return 0, f"{key}: HR is {width}x{height}, expected at least {least} pixels a side"
    return height * width, ""
