"""Folders of test images as they are passed around: Set5, Set14, BSD100, Urban100, DIV2K's validation, or your own.

`sr_core.evaluate.layouts` says how they may lie. HR is cropped to a multiple of the scale, from the top left, as MATLAB
scripts do. Where LR has to be made, it is by MATLAB's bicubic, and the protocol says how that treats the border:
clamped in the usual sets, mirrored in DIV2K. Bicubic on Set5 so read: 33.68, 30.41 and 28.43 dB for x2, x3 and x4.

Shapes: H W LR size, S scale.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_core import files
from sr_core.data.degrade import lr_of, recipe_digest
from sr_core.data.images import read_rgb, read_size
from sr_core.data.pairs import ImagePair
from sr_core.data.policy import MAX_PIXELS
from sr_core.data.resize import bicubic_down, crop_to_multiple
from sr_core.errors import ConfigError, ImageError, SourceError, listed
from sr_core.evaluate import layouts
from sr_core.evaluate.layouts import BICUBIC, scales_of
from sr_core.evaluate.metrics import PROTOCOLS, Protocol
from sr_core.params import SHIFTED, TRACKS, DataParams

__all__ = ["DIV2K", "TestSet", "known", "open_testset", "scales_of"]

DIV2K = "DIV2K validation"
_DIV2K_KEYS = frozenset(f"{number:04}" for number in range(801, 901))
_SYNTHETIC = ("unknown", "second_order")  # that can be made of any photograph
# by what folders are called: the set, and how many images it has
_KNOWN = {
    "set5": ("Set5", 5),
    "set14": ("Set14", 14),
    "bsd100": ("BSD100", 100),
    "bsds100": ("BSD100", 100),
    "b100": ("BSD100", 100),
    "urban100": ("Urban100", 100),
}


class TestSet:
    """The image pairs of one folder for one scale; satisfies `sr_core.evaluate.benchmark.EvalImages`."""

    __test__ = False  # it is no test of pytest's

    def __init__(
        self, name: str, found: layouts.Found, *, scale: int, degradation: str, protocol: Protocol, data: DataParams
    ) -> None:
        self.name, self.scale, self.degradation, self.protocol = name, scale, degradation, protocol
        self._pairs = list(found.pairs.values())
        self._keys = tuple(found.pairs)
        self._last: tuple[int, NDArray[np.uint8]] | None = None  # HR that was decoded last
        self._data = dataclasses.replace(data, scale=scale, degradation=degradation)
        self.lr_source = self._said(found)

    def _said(self, found: layouts.Found) -> str:
        """Where LR comes from, in words."""
        if all(lr is not None for _, lr in self._pairs):
            return "files, aligned" if self._is_aligned else "files"
        made = (
            f"border {self.protocol.border}" if self.degradation == BICUBIC else f"seed {self._data.degradation_seed}"
        )
        return f"made here{f' of {found.of}' if found.of else ''}: {self.degradation}, {made}"

    @property
    def _is_aligned(self) -> bool:
        return self._data.align and self.degradation in SHIFTED

    @property
    def keys(self) -> Sequence[str]:
        """The images' names without what the layouts add."""
        return self._keys

    @property
    def digest(self) -> str:
        """Of the files' bytes, of the scale, and of how LR is made."""
        hashes = [[files.record_of(path).sha256 if path else "made" for path in pair] for pair in self._pairs]
        recipe = self.protocol.border if self.degradation == BICUBIC else recipe_digest(self._data, self.degradation)
        whole = all(lr is not None for _, lr in self._pairs) and not self._is_aligned
        return files.digest_of([self.scale, list(self._keys), hashes, None if whole else recipe])

    def __len__(self) -> int:
        return len(self._pairs)

    def lr(self, i: int) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        hr, lr = self._pairs[i]
        if lr is not None and not self._is_aligned:
            return read_rgb(lr, max_pixels=self._data.max_pixels)
        pixels = self.hr(i)
        if self.degradation == BICUBIC:
            return bicubic_down(pixels, self.scale, border=self.protocol.border)
        given = {self.degradation: (lr,)} if lr is not None else {}
        pair = ImagePair(key=self._keys[i], hr=hr, height=pixels.shape[0], width=pixels.shape[1], lr=given)
        return lr_of(pair, pixels, self._data, self.degradation)

    def hr(self, i: int) -> NDArray[np.uint8]:
        """(S*H, S*W, 3)."""
        if self._last is None or self._last[0] != i:  # whoever makes LR of it has just asked for it
            hr = read_rgb(self._pairs[i][0], max_pixels=self._data.max_pixels)
            self._last = i, np.ascontiguousarray(crop_to_multiple(hr, self.scale))
        return self._last[1]


def open_testset(
    folder: Path,
    scale: int,
    *,
    name: str | None = None,
    degradation: str = BICUBIC,
    protocol: Protocol | None = None,
    otherwise: str | None = None,
    data: DataParams | None = None,
    max_pixels: int = MAX_PIXELS,
) -> TestSet:
    """The test images in `folder` for `scale`, under the name by which the set is known or `name`.

    `protocol` None is the one by which the set is usually measured, `otherwise` (or benchmark-y) where it is none of
    the usual ones. Whoever names one of the two has the images' sizes checked for it as well. `data` has the ranges and
    the seed of what is made here (unknown, second_order), and whether shifts are undone.

    Raises:
        SourceError: there is no such folder, no images in it, only some for another scale, or none of the degradation.
        ImageError: lists every HR image without its LR image and the reverse, what cannot be read, and what is too
            small or of sizes that do not fit.
        ConfigError: there is no such degradation.
    """
    _check_degradation(degradation)
    if not folder.is_dir():
        raise SourceError(f"{folder}: is not a folder, expected one with test images")
    data = data or DataParams(max_pixels=max_pixels)
    found = layouts.find(folder, scale, degradation, max_pixels=data.max_pixels)
    if not found.pairs:
        raise SourceError(
            f"{folder}: holds no test images, expected *_SRF_{scale}_HR.png, HR/ with LR_bicubic/X{scale}/, or images"
        )
    _check_made(folder, found, degradation)
    root = layouts.root_of(folder)
    name = name or known(root.resolve().name, tuple(found.pairs))
    chosen = protocol or PROTOCOLS[_usual(name) or otherwise or "benchmark-y"]
    wrong = [*found.offenders, *_wrong(scale, found, chosen if protocol or otherwise else None, data.max_pixels)]
    if wrong:
        raise ImageError(f"{folder}: {len(wrong)} test images are wrong; bring or take out:{listed(wrong)}")
    return TestSet(name, found, scale=scale, degradation=degradation, protocol=chosen, data=data)


def known(name: str, keys: Sequence[str]) -> str:
    """The name by which a set of `keys` in a folder called `name` is known; says so where images are missing.

    `Set5`, `DIV2K validation`, `Set14, 3 of 14 images`; a folder's own name where it is none of them.
    """
    if set(keys) <= _DIV2K_KEYS:
        title, number = DIV2K, len(_DIV2K_KEYS)
    else:
        title, number = _KNOWN.get(name.lower().replace("-", "").replace("_", ""), (name, len(keys)))
    return title if len(keys) == number else f"{title}, {len(keys)} of {number} images"


def _usual(name: str) -> str | None:
    """The protocol by which the set `name` is usually measured."""
    if name.startswith(DIV2K):
        return "div2k-rgb"
    return "benchmark-y" if any(name.startswith(title) for title, _ in _KNOWN.values()) else None


def _check_degradation(degradation: str) -> None:
    if degradation not in TRACKS:
        raise ConfigError(f"degradation: is {degradation!r}, expected {', '.join(TRACKS[:-1])} or {TRACKS[-1]}")


def _check_made(folder: Path, found: layouts.Found, degradation: str) -> None:
    """Whether LR that has to be made can be."""
    is_made = any(lr is None for _, lr in found.pairs.values())
    official = set(found.pairs) <= _DIV2K_KEYS and degradation == "unknown"
    if is_made and degradation != BICUBIC and (degradation not in _SYNTHETIC or official):
        raise SourceError(
            f"{folder}: has no LR images of {degradation}, and they cannot be made here; expected "
            f"{layouts.DIV2K_HR} with DIV2K_valid_LR_{degradation} beside it"
        )


def _wrong(scale: int, found: layouts.Found, protocol: Protocol | None, max_pixels: int) -> Iterator[str]:
    """A line on everything that is wrong with a pair, as far as the files' headers tell."""
    least = protocol.least_side(scale) if protocol else 0
    for hr, lr in found.pairs.values():
        if lr is not None and not lr.is_file():
            yield f"{hr.name}: has no LR image for x{scale}"
            continue
        try:
            height, width = read_size(hr, max_pixels=max_pixels)
            low, narrow = read_size(lr, max_pixels=max_pixels) if lr else (height // scale, width // scale)
        except ImageError as error:
            yield str(error)
            continue
        if (height // scale, width // scale) != (low, narrow):
            expected = f"{width // scale}x{height // scale}"
            yield f"{hr.name}: is {width}x{height}, its LR image {narrow}x{low}, expected {expected}"
        elif protocol and min(low, narrow) * scale < least:
            yield f"{hr.name}: is {width}x{height}, {protocol.name} at x{scale} needs {least} pixels a side"
