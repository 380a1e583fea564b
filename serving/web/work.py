"""One photograph through one model: what the page computes, without the page.

One photograph at a time, and one model in memory: whoever comes next waits. The result file's bytes are those that
`sr upscale` writes, as both go read_picture -> upscale_picture -> encode_picture with the settings of the model's card.

Shapes: H W LR size, C channels, S scale.
"""

import dataclasses
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.web.choices import Version
from serving.web.limits import Limits, num_cores, trim
from serving.web.registry import fetched
from sr_core.data.images import TooLargeError
from sr_core.data.pictures import Picture, read_picture, write_picture
from sr_core.errors import ConfigError, ImageError, SrError
from sr_core.evaluate.metrics import PROTOCOLS, Protocol, psnr, ssim
from sr_core.params import SCALES
from sr_core.progress import QUIET, Progress

if TYPE_CHECKING:
    from sr_core.train.weights import LoadedModel
    from sr_core.upscale import Settings

REGISTRY = "models:/"
BICUBIC_TILE = 128  # a small one: its matrices are kept from one photograph to the next
MEASURING_BYTES = 200  # for each pixel while PSNR and SSIM are taken, in float64

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How near an enlarged photograph is to its original, by the outcome's protocol."""

    name: str  # bicubic, or the model's
    psnr: float  # dB
    ssim: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the page shows of one photograph."""

    result: Path  # the model's, as `sr upscale` writes it
    bicubic: Path
    model: str
    scale: int
    size: tuple[int, int]  # of the photograph: width, height
    kind: str  # RGB, 8 bits
    seconds: float  # of the model, without reading and writing files
    scores: tuple[Score, ...] = ()
    protocol: str | None = None  # in words
    notes: tuple[str, ...] = ()  # what else is to be said


class Workshop:
    """Holds the model that was used last; everything goes through one lock."""

    def __init__(self, limits: Limits, uri: str | None = None) -> None:
        self.limits, self.uri = limits, uri
        self._lock = threading.Lock()
        self._opened: tuple[Version, LoadedModel] | None = None

    def warm(self) -> None:
        """Imports what the first photograph would wait for."""
        with self._lock:
            import torch

            import sr_core.upscale  # noqa: F401

            torch.set_num_threads(min(torch.get_num_threads(), num_cores()))

    def enlarge(
        self,
        photograph: Path,
        version: Version,
        folder: Path,
        *,
        original: Path | None = None,
        protocol: str = "benchmark-y",
        say: Say = lambda _: None,
        progress: Progress = QUIET,
    ) -> Outcome:
        """Writes the enlarged photograph, and bicubic interpolation beside it, to `folder`.

        Raises:
            SrError: a file is none that is accepted, is too large, or does not fit; memory does not suffice.
        """
        with self._lock:
            try:
                picture = self._read(photograph, version.scale or min(SCALES))
                hr = self._read(original, 1) if original else None
                model = self._open(version, say)
                self._check_result(picture, model.card.scale)
                if hr is not None:
                    _check_sizes(picture, hr, model.card.scale)
                say(f"Enlarging {_size(picture)} pixels {model.card.scale} times …")
                return self._make(picture, hr, model, _protocol(protocol), photograph.stem, files_in(folder), progress)
            finally:
                trim()

    def _read(self, path: Path, scale: int) -> Picture:
        """Refuses before it is decoded what would become too large a result."""
        most = min(self.limits.max_pixels, self.limits.max_result_pixels // scale**2)
        try:
            return read_picture(path, name=path.name, max_pixels=most)
        except TooLargeError as error:
            raise ImageError(
                f"{error.told}, more than this page's limit of {most}; cut or shrink it, or use `sr upscale`"
            ) from None

    def _open(self, version: Version, say: Say) -> "LoadedModel":
        if self._opened is None or self._opened[0] != version:
            say(f"Loading {version.model} …")
            self._opened = None  # one model at a time: the old one goes before the new one comes
            gc.collect()
            trim()
            from serving.models import open_any

            name = version.model
            if name.startswith(REGISTRY) and self.uri:
                name = str(fetched(name, self.uri, say))
            self._opened = version, open_any(name, scale=version.scale or 4)
        return self._opened[1]

    def _check_result(self, picture: Picture, scale: int) -> None:
        pixels = picture.pixels.shape[0] * picture.pixels.shape[1] * scale**2
        most = self.limits.max_result_pixels
        if pixels > most:
            raise ImageError(
                f"the photograph is {_size(picture)}, and its result would have {pixels / 1e6:.1f} megapixels, "
                f"expected at most {most / 1e6:.1f} on this page: crop it, or use `sr upscale`, which takes any size"
            )

    def _make(
        self,
        picture: Picture,
        hr: Picture | None,
        model: "LoadedModel",
        protocol: Protocol,
        stem: str,
        folder: Path,
        progress: Progress,
    ) -> Outcome:
        from sr_core.models.interpolation import Bicubic
        from sr_core.upscale import Settings, upscale_picture

        scale, notes = model.card.scale, []
        if hr is not None and not self._can_measure(hr):
            hr = None
            notes.append("The result was not measured: it is too large for this server's memory.")
        result, bicubic = folder / f"{stem}-x{scale}.png", folder / f"{stem}-x{scale}-bicubic.png"
        settings = self._settings(model, picture)
        start_s = time.perf_counter()
        enlarged = upscale_picture(model.network, picture, settings, progress=progress)
        seconds = time.perf_counter() - start_s
        scores = _score(model.card.model, enlarged, hr, protocol, scale)
        _write(result, enlarged)
        del enlarged
        plain = upscale_picture(Bicubic(scale), picture, Settings(precision="float32", tile=BICUBIC_TILE))
        scores += _score("bicubic", plain, hr, protocol, scale)
        _write(bicubic, plain)
        return Outcome(
            result=result,
            bicubic=bicubic,
            model=model.card.model,
            scale=scale,
            size=(picture.pixels.shape[1], picture.pixels.shape[0]),
            kind=_kind(picture),
            seconds=seconds,
            scores=tuple(scores),
            protocol=protocol.describe(scale) if hr else None,
            notes=tuple(notes),
        )

    def _settings(self, model: "LoadedModel", picture: Picture) -> "Settings":
        """The card's; its tiles become smaller where they would not fit into the memory that is left."""
        from sr_core.upscale import MEMORY_BYTES, settings_of

        height, width = picture.pixels.shape[:2]
        channels = 3 + (picture.alpha is not None)
        result_bytes = height * width * model.card.scale**2 * channels * picture.pixels.itemsize
        budget, settings = self.limits.budget_bytes(result_bytes), settings_of(model.card)
        if budget is None:
            return settings
        return dataclasses.replace(settings, memory_bytes=min(budget, MEMORY_BYTES))

    def _can_measure(self, hr: Picture) -> bool:
        pixels = hr.pixels.shape[0] * hr.pixels.shape[1]
        budget = self.limits.budget_bytes(0)
        return budget is None or pixels * MEASURING_BYTES <= budget


def files_in(folder: Path) -> Path:
    """`folder`, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {name!r}, expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _write(path: Path, picture: Picture) -> None:
    try:
        write_picture(path, picture, "png")
    except OSError as error:
        raise SrError(f"{path.name}: cannot be written ({error.strerror}); see that the disk has room") from None


def _score(name: str, sr: Picture, hr: Picture | None, protocol: Protocol, scale: int) -> list[Score]:
    if hr is None:
        return []
    a, b = _as_rgb8(sr), _as_rgb8(hr)
    return [
        Score(
            name=name, psnr=psnr(a, b, protocol=protocol, scale=scale), ssim=ssim(a, b, protocol=protocol, scale=scale)
        )
    ]


def _as_rgb8(picture: Picture) -> NDArray[np.uint8]:
    """(H, W, C) of either type -> (H, W, 3) uint8; alpha is left out."""
    pixels: NDArray[Any] = picture.pixels
    if pixels.dtype != np.uint8:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _check_sizes(picture: Picture, hr: Picture, scale: int) -> None:
    expected = tuple(side * scale for side in picture.pixels.shape[:2])
    if hr.pixels.shape[:2] != expected:
        raise ImageError(
            f"the original is {_size(hr)}, expected {scale} times the photograph: {expected[1]}x{expected[0]}; "
            "choose another, or leave it out"
        )


def _size(picture: Picture) -> str:
    return f"{picture.pixels.shape[1]}x{picture.pixels.shape[0]}"


def _kind(picture: Picture) -> str:
    colours = "grey" if picture.pixels.shape[2] == 1 else "RGB"
    alpha = " with transparency" if picture.alpha is not None else ""
    return f"{colours}{alpha}, {8 * picture.pixels.dtype.itemsize} bits"
