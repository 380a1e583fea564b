"""Which HR image goes with which LR images, checked from the headers of all files before any work starts.

A folder is in DIV2K's layout, as `archives.py` has it, or flat:

    DIV2K_train_HR/0001.png                      photographs/anything.jpg
    DIV2K_train_LR_bicubic/X4/0001x4.png         lr_photographs/anything.png or anythingx4.png (data.lr_folder)
    DIV2K_valid_HR/0801.png, …                   (every data.valid_every-th by name, or those of data.valid_list)

A track is a degradation. Where there are LR files for a track, they are taken, and must be there for every image.
Otherwise bicubic and unknown are made here, which for unknown stands for photographs other than DIV2K's. A
second_order image is always made here; mild, difficult and wild never are.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from sr_core.data.archives import MADE_HERE, Split, layout
from sr_core.data.flat import held_out, images_in, partners
from sr_core.data.images import read_size
from sr_core.errors import ImageError, SourceError, listed, shown
from sr_core.params import SHIFTED, DataParams

SPLITS: tuple[Split, ...] = ("train", "valid")

MOST_NAME_BYTES = 200  # of a key: names of files, of 255 bytes at most, are made of it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImagePair:
    """An HR image with its size in pixels, and its LR images: by track, in order; a track without is made here."""

    key: str
    hr: Path
    height: int
    width: int
    lr: Mapping[str, tuple[Path, ...]] = dataclasses.field(hash=False)


def is_flat(raw: Path) -> bool:
    """Whether `raw` is a plain folder of images, not in DIV2K's layout."""
    return not any((raw / f"DIV2K_{split}_HR").is_dir() for split in SPLITS)


def hr_files(params: DataParams, raw: Path) -> dict[Split, tuple[Path, ...]]:
    """The HR images of both splits below `raw`, sorted by name; none if there are none.

    Raises:
        SourceError: `params.valid_list` cannot be followed.
    """
    if not is_flat(raw):
        if params.valid_list is not None:
            raise SourceError(
                f"data.valid_list: expected null, because {raw} is in DIV2K's layout, which is split already"
            )
        return {split: images_in(raw / f"DIV2K_{split}_HR") for split in SPLITS}
    images = images_in(raw)
    valid = held_out(params, images)
    return {
        "train": tuple(image for image in images if image not in valid),
        "valid": tuple(image for image in images if image in valid),
    }


def find_all_pairs(params: DataParams, raw: Path) -> dict[Split, tuple[ImagePair, ...]]:
    """The pairs of both splits below `raw`, sorted by key, with the LR files of all `params.tracks`.

    Raises:
        ImageError: some images cannot be used; lists all of them, of both splits.
        SourceError: there are no LR files for a track, and it cannot be made here; lists all such tracks.
    """
    _check_lr_folder(params, raw)
    tracks = _tracks_with_files(params, raw)
    images = hr_files(params, raw)
    both = images["train"] + images["valid"]
    own, offenders = ({}, []) if params.lr_folder is None else partners(params, both)
    pairs: dict[Split, tuple[ImagePair, ...]] = {}
    for split in SPLITS:
        crop = params.crop if split == "train" else 1
        copies = Counter(image.stem for image in (both if is_flat(raw) else images[split]))
        usable = []
        for hr in images[split]:
            try:
                _check_name(hr, copies[hr.stem])
                lr = {track: lr_files(hr, raw, split, track, params.scale) for track in tracks[split]}
                if hr in own:
                    lr[params.degradation] = (own[hr],)
                pair = _pair(hr, lr, params, crop)
            except ImageError as error:
                offenders.append(str(error))
                continue
            offenders += [fault for files in lr.values() for file in files if (fault := _lr_fault(pair, file, params))]
            usable.append(pair)
        pairs[split] = tuple(sorted(usable, key=lambda pair: pair.key))
    if offenders:
        raise ImageError(f"{shown(raw)}: {len(offenders)} images cannot be used:{listed(offenders)}")
    return pairs


def _check_lr_folder(params: DataParams, raw: Path) -> None:
    if params.lr_folder is None:
        return
    if not is_flat(raw):
        raise SourceError(
            f"data.lr_folder: expected null, because {raw} is in DIV2K's layout, which has LR folders too"
        )
    if params.degradation in {"mixed", *MADE_HERE}:
        raise SourceError(
            f"data.lr_folder: holds LR images of one degradation, which data.degradation {params.degradation} is not; "
            "name another degradation, or set data.lr_folder to null"
        )


def _tracks_with_files(params: DataParams, raw: Path) -> dict[Split, list[str]]:
    """By split, the tracks for which there are LR files in DIV2K's layout."""
    tracks = [track for track in params.tracks if track not in MADE_HERE and params.lr_folder is None]
    found: dict[Split, list[str]] = {split: [] for split in SPLITS}
    missing = []
    for track in tracks:
        folders: dict[Split, Path] = {split: raw / layout(split, track, params.scale).folder for split in SPLITS}
        present = [split for split in SPLITS if folders[split].is_dir()]
        for split in present:
            found[split].append(track)
        # LR images of unknown origin for one split and drawn ones for the other would measure another task
        if needs_files(params, track) or (track == "unknown" and present):
            missing += [(track, folders[split]) for split in SPLITS if split not in present]
    if missing:
        names = ", ".join(dict.fromkeys(track for track, _ in missing))
        lines = [f"{track}: there is no {path}" for track, path in missing]
        raise SourceError(
            f"data.degradation: LR images of {names} are missing and cannot be made here; {_remedy(params, raw)}, or "
            f"use another degradation, such as bicubic:{listed(lines)}"
        )
    return found


def _remedy(params: DataParams, raw: Path) -> str:
    if params.source == "sample":
        return "use data.source: div2k, which has them"
    return "name a folder of them in data.lr_folder" if is_flat(raw) else "put them there"


def needs_files(params: DataParams, track: str) -> bool:
    """Whether LR images of `track` cannot be made here for this source."""
    return track in SHIFTED or (track == "unknown" and params.source == "div2k")


def lr_files(hr: Path, raw: Path, split: Split, track: str, scale: int) -> tuple[Path, ...]:
    """The LR images of `hr` in DIV2K's layout below `raw`, whether they are there or not."""
    files = tuple(raw / name for name in layout(split, track, scale).files(hr.stem))
    if track == "wild" and split == "valid" and not files[0].exists():
        # a digit may follow
        return next(((file,) for d in range(10) if (file := files[0].with_stem(f"{files[0].stem}{d}")).exists()), files)
    return files


def _check_name(hr: Path, copies: int) -> None:
    """Refuses what is no file, and names of which no shard's name can be made."""
    if shown(hr.name) != hr.name:
        raise ImageError(f"{shown(hr)}: its name holds control characters or is not UTF-8; rename it")
    if len(os.fsencode(hr.stem)) > MOST_NAME_BYTES:
        raise ImageError(f"{hr}: its name is longer than {MOST_NAME_BYTES} bytes; rename it")
    if not hr.is_file():
        kind = "a link that leads nowhere" if hr.is_symlink() and not hr.exists() else "not a file"
        raise ImageError(f"{hr}: is {kind}; take it out")
    if copies > 1:
        raise ImageError(f"{hr}: {copies} images have this name; rename or remove the others")


def _pair(hr: Path, lr: Mapping[str, tuple[Path, ...]], params: DataParams, crop: int) -> ImagePair:
    scale = params.scale
    height, width = read_size(hr, max_pixels=params.max_pixels)
    side = crop * scale
    if min(height, width) < side:
        raise ImageError(
            f"{hr}: is {width}x{height} pixels, smaller than a crop of {crop} x {scale} = {side}: "
            "lower data.crop, or take it out"
        )
    return ImagePair(key=hr.stem, hr=hr, height=height, width=width, lr=lr)


def _lr_fault(pair: ImagePair, lr: Path, params: DataParams) -> str | None:
    """What is wrong with an LR file of `pair`."""
    if not lr.is_file():
        return f"{lr}: missing; it is the x{params.scale} LR image of {pair.hr.name}"
    try:
        height, width = read_size(lr, max_pixels=params.max_pixels)
    except ImageError as error:
        return str(error)
    expected = (pair.height // params.scale, pair.width // params.scale)
    if (height, width) == expected:
        return None
    wanted = f"{expected[1]}x{expected[0]}, which is {pair.hr.name} / {params.scale}"
    return f"{lr}: is {width}x{height} pixels, expected {wanted}"
