"""Which HR image goes with which LR image, checked from the headers of all files before any work starts.

A folder is in DIV2K's layout, or flat:

    DIV2K_train_HR/0001.png                      photographs/anything.jpg
    DIV2K_train_LR_bicubic/X4/0001x4.png         (every 10th by name is for validation; LR is made here)
    DIV2K_train_LR_x8/0001x8.png                 (bicubic x8 has a folder of its own)
    DIV2K_valid_HR/0801.png, …

Data set: https://data.vision.ee.ethz.ch/cvl/DIV2K/
"""

import dataclasses
import os
from collections import Counter
from pathlib import Path
from typing import Literal, TypeAlias

from sr_core.data.images import SUFFIXES, read_size
from sr_core.errors import ImageError, SourceError, listed

Split: TypeAlias = Literal["train", "valid"]
SPLITS: tuple[Split, ...] = ("train", "valid")

VALID_EVERY = 10  # of a flat folder


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImagePair:
    """An HR image with its size in pixels, and its LR image if there is a file for it."""

    key: str
    hr: Path
    height: int
    width: int
    lr: Path | None


def hr_files(raw: Path, split: Split) -> tuple[Path, ...]:
    """The HR images of `split` below `raw`, sorted by name; none if there are none."""
    if not is_flat(raw):
        return _images_in(raw / f"DIV2K_{split}_HR")
    held_out = split == "valid"
    return tuple(image for i, image in enumerate(_images_in(raw)) if (i % VALID_EVERY == 0) == held_out)


def is_flat(raw: Path) -> bool:
    """Whether `raw` is a plain folder of images, not in DIV2K's layout."""
    return not any((raw / f"DIV2K_{split}_HR").is_dir() for split in SPLITS)


def find_pairs(raw: Path, split: Split, scale: int, degradation: str, *, crop: int) -> tuple[ImagePair, ...]:
    """The pairs of `split` below `raw`, sorted by key; `crop` (LR pixels) must fit into the training images.

    Raises:
        ImageError: as `find_all_pairs`.
        SourceError: as `find_all_pairs`.
    """
    pairs, offenders = _scan(raw, split, scale, degradation, crop=crop)
    _refuse(raw, offenders)
    return pairs


def find_all_pairs(raw: Path, scale: int, degradation: str, *, crop: int) -> dict[Split, tuple[ImagePair, ...]]:
    """The pairs of both splits.

    Raises:
        ImageError: some images cannot be used; lists all of them, of both splits.
        SourceError: there are no LR files for `degradation`, and it cannot be made here.
    """
    scans = {split: _scan(raw, split, scale, degradation, crop=crop) for split in SPLITS}
    _refuse(raw, [offender for _, offenders in scans.values() for offender in offenders])
    return {split: pairs for split, (pairs, _) in scans.items()}


def _refuse(raw: Path, offenders: list[str]) -> None:
    if offenders:
        raise ImageError(f"{raw}: {len(offenders)} images cannot be used:{listed(offenders)}")


def _scan(
    raw: Path, split: Split, scale: int, degradation: str, *, crop: int
) -> tuple[tuple[ImagePair, ...], list[str]]:
    """The pairs that can be used, and a line on every image that cannot."""
    lr_folder = _lr_folder(raw, split, scale, degradation)
    files = hr_files(raw, split)
    copies = Counter(file.stem for file in files)
    pairs, offenders = [], []
    for hr in files:
        try:
            if not hr.is_file():
                raise ImageError(f"{hr}: is not a file; take it out")
            if hr.stem != os.fsencode(hr.stem).decode("utf-8", "replace"):
                raise ImageError(f"{str(hr)!a}: its name is not UTF-8; rename it")
            if copies[hr.stem] > 1:
                raise ImageError(f"{hr}: {copies[hr.stem]} images have this name; rename or remove the others")
            lr = None if lr_folder is None else lr_folder / f"{hr.stem}x{scale}.png"
            pairs.append(_pair(hr, lr, scale, crop if split == "train" else 1))
        except ImageError as error:
            offenders.append(str(error))
    return tuple(sorted(pairs, key=lambda pair: pair.key)), offenders


def _pair(hr: Path, lr: Path | None, scale: int, crop: int) -> ImagePair:
    height, width = read_size(hr)
    side = crop * scale
    if min(height, width) < side:
        raise ImageError(
            f"{hr}: is {width}x{height} pixels, smaller than a crop of {crop} x {scale} = {side}: "
            "lower data.crop, or take it out"
        )
    if lr is not None:
        _check_lr(hr, lr, expected=(height // scale, width // scale), scale=scale)
    return ImagePair(key=hr.stem, hr=hr, height=height, width=width, lr=lr)


def _check_lr(hr: Path, lr: Path, *, expected: tuple[int, int], scale: int) -> None:
    if not lr.is_file():
        raise ImageError(f"{lr}: missing; it is the x{scale} LR image of {hr.name}")
    height, width = read_size(lr)
    if (height, width) != expected:
        raise ImageError(
            f"{lr}: is {width}x{height} pixels, expected {expected[1]}x{expected[0]}, which is {hr.name} / {scale}"
        )


def _lr_folder(raw: Path, split: Split, scale: int, degradation: str) -> Path | None:
    """Where the LR files of a degradation are; None: there are none, and it is made here."""
    folder = raw / f"DIV2K_{split}_LR_{degradation}" / f"X{scale}"
    if scale == 8 and degradation == "bicubic":
        folder = raw / f"DIV2K_{split}_LR_x8"
    if folder.is_dir():
        return folder
    if degradation != "bicubic":
        raise SourceError(
            f"data.degradation: {degradation} cannot be made here and {folder} does not exist: "
            "put the LR images there, or use bicubic"
        )
    return None


def _images_in(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    )
