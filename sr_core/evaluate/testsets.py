"""Folders of test images as they are passed around: Set5, Set14, BSD100, Urban100, DIV2K's validation, or your own.

    img_001_SRF_4_HR.png, img_001_SRF_4_LR.png    in the folder, or in image_SRF_4 below it
    HR/a.png, LR_bicubic/X4/ax4.png               HR also as GTmod12 or DIV2K_valid_HR, LR as LRbicx4
    a.png                                         HR alone: LR is made by MATLAB's bicubic, as in the published tables

HR is cropped to a multiple of the scale, from the top left, as MATLAB scripts do. The usual sets were made with the
border clamped, unlike DIV2K's mirrored one. Bicubic on Set5 so read: 33.68, 30.41 and 28.43 dB for x2, x3 and x4.

Shapes: H W LR size, S scale.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_core import files
from sr_core.data.flat import images_in
from sr_core.data.images import read_rgb, read_size
from sr_core.data.policy import MAX_PIXELS
from sr_core.data.resize import bicubic_down, crop_to_multiple
from sr_core.errors import ImageError, SourceError, listed
from sr_core.params import SCALES

_SRF = re.compile(r"(?P<key>.+)_SRF_(?P<scale>\d+)_HR")
_HR_FOLDERS = ("HR", "GTmod12", "GTmod24", "GT", "*valid_HR")
_LR_FOLDERS = ("LR_bicubic/X{scale}", "LRbicx{scale}", "LR_bicubic_X{scale}", "*valid_LR_bicubic/X{scale}")


class TestSet:
    """The image pairs of one folder for one scale; satisfies `sr_core.evaluate.benchmark.EvalImages`."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, name: str, scale: int, pairs: Mapping[str, tuple[Path, Path | None]], max_pixels: int) -> None:
        self.name, self.scale = name, scale
        self._pairs, self._max_pixels = list(pairs.values()), max_pixels
        self._keys = tuple(pairs)

    @property
    def keys(self) -> Sequence[str]:
        """The images' names without what the layouts add."""
        return self._keys

    @property
    def digest(self) -> str:
        """Of the files' bytes, and of the scale."""
        hashes = [[files.record_of(path).sha256 if path else "bicubic" for path in pair] for pair in self._pairs]
        return files.digest_of([self.scale, list(self._keys), hashes])

    def __len__(self) -> int:
        return len(self._pairs)

    def lr(self, i: int) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        hr, lr = self._pairs[i]
        if lr is not None:
            return read_rgb(lr, max_pixels=self._max_pixels)
        return bicubic_down(read_rgb(hr, max_pixels=self._max_pixels), self.scale, border="clamp")

    def hr(self, i: int) -> NDArray[np.uint8]:
        """(S*H, S*W, 3)."""
        hr = read_rgb(self._pairs[i][0], max_pixels=self._max_pixels)
        return np.ascontiguousarray(crop_to_multiple(hr, self.scale))


def open_testset(folder: Path, scale: int, *, max_pixels: int = MAX_PIXELS) -> TestSet:
    """The test images in `folder` for `scale`.

    Raises:
        SourceError: there is no such folder, there are no images in it, or only some for another scale.
        ImageError: lists every HR image without its LR image, and every pair whose sizes do not fit.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: is not a folder, expected one with test images")
    pairs = _srf(folder, scale) or _beside(folder, scale) or {path.stem: (path, None) for path in images_in(folder)}
    if not pairs:
        raise SourceError(
            f"{folder}: holds no test images, expected *_SRF_{scale}_HR.png, HR/ with LR_bicubic/X{scale}/, or images"
        )
    _check_pairs(folder, scale, pairs, max_pixels)
    name = folder.resolve().name
    return TestSet(folder.resolve().parent.name if name.startswith("image_SRF_") else name, scale, pairs, max_pixels)


def scales_of(folder: Path) -> tuple[int, ...]:
    """The scales for which there are LR images in `folder`; none if they are made here, for any scale."""
    return tuple(scale for scale in SCALES if _files_srf(folder, scale) or _folder(folder, _LR_FOLDERS, scale))


def _files_srf(folder: Path, scale: int) -> list[Path]:
    below = folder / f"image_SRF_{scale}"
    found = [path for place in (folder, below) if place.is_dir() for path in images_in(place)]
    return [path for path in found if (match := _SRF.fullmatch(path.stem)) and int(match["scale"]) == scale]


def _srf(folder: Path, scale: int) -> dict[str, tuple[Path, Path | None]]:
    """The pairs of the layout with SRF in its names."""
    hr = _files_srf(folder, scale)
    others = [other for other in SCALES if _files_srf(folder, other)]
    if others and not hr:
        has = ", ".join(f"x{other}" for other in others)
        raise SourceError(f"{folder}: holds images for {has}, the model is for x{scale}; take a folder for x{scale}")
    return {path.stem.partition("_SRF_")[0]: (path, path.with_stem(path.stem[:-2] + "LR")) for path in hr}


def _beside(folder: Path, scale: int) -> dict[str, tuple[Path, Path | None]]:
    """The pairs of a folder with one folder for HR and others for LR; without one for this scale, LR is made."""
    hr_folder, lr_folder = _folder(folder, _HR_FOLDERS, scale), _folder(folder, _LR_FOLDERS, scale)
    if hr_folder is None:
        return {}
    if lr_folder is None:
        return {path.stem: (path, None) for path in images_in(hr_folder)}
    lr = {path.stem.removesuffix(f"x{scale}"): path for path in images_in(lr_folder)}
    missing = lr_folder / f"missing.x{scale}"
    return {path.stem: (path, lr.get(path.stem, missing)) for path in images_in(hr_folder)}


def _folder(folder: Path, patterns: Sequence[str], scale: int) -> Path | None:
    """The first folder below `folder` that is called like one of `patterns` and holds images."""
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern.format(scale=scale))))
    return next((path for path in found if path.is_dir() and images_in(path)), None)


def _check_pairs(folder: Path, scale: int, pairs: Mapping[str, tuple[Path, Path | None]], max_pixels: int) -> None:
    wrong = list(_wrong(scale, pairs, max_pixels))
    if wrong:
        raise ImageError(f"{folder}: {len(wrong)} test images are wrong; bring or take out:{listed(wrong)}")


def _wrong(scale: int, pairs: Mapping[str, tuple[Path, Path | None]], max_pixels: int) -> Iterator[str]:
    for hr, lr in pairs.values():
        if lr is None:
            continue
        if not lr.is_file():
            yield f"{hr.name}: has no LR image for x{scale}"
            continue
        (height, width), (low, narrow) = (read_size(path, max_pixels=max_pixels) for path in (hr, lr))
        if (height // scale, width // scale) != (low, narrow):
            expected = f"{width // scale}x{height // scale}"
            yield f"{hr.name}: is {width}x{height}, its LR image {narrow}x{low}, expected {expected}"
