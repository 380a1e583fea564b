"""Where the HR and LR images of a test set lie in its folder, in the layouts in which test sets are passed around.

    img_001_SRF_4_HR.png, img_001_SRF_4_LR.png    in the folder, or in image_SRF_4 below it
    HR/a.png, LR_bicubic/X4/ax4.png               HR also as GTmod12 or DIV2K_valid_HR, LR as LRbicx4
    a.png                                         HR alone

The usual Urban100 package has a trap: the HR images of its image_SRF_2 are half as large as those of image_SRF_4, and
the published x2 and x3 figures are of the latter. Sizes tell: where HR for x2 or x3 is half of HR for x4, or is not
there at all, the HR images for x4 are taken, and LR is made of them.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sr_core.data.flat import images_in
from sr_core.data.images import read_size
from sr_core.data.pairs import lr_files
from sr_core.errors import ImageError, SourceError
from sr_core.params import SCALES

BICUBIC = "bicubic"
DIV2K_HR = "DIV2K_valid_HR"

_SRF = re.compile(r"(?P<key>.+)_SRF_(?P<scale>\d+)_(?P<kind>HR|LR)")
_SRF_FOLDER = re.compile(r"image_SRF_\d+")
_HR_FOLDERS = ("HR", "GTmod12", "GTmod24", "GT", DIV2K_HR, "*valid_HR")
_LR_FOLDERS = ("LR_bicubic/X{scale}", "LRbicx{scale}", "LR_bicubic_X{scale}", "*valid_LR_bicubic/X{scale}")
_LARGEST = 4  # the scale whose HR images are the whole ones
_CROPPED = 3 * _LARGEST  # HR pixels by which two halves may differ, as each was cropped for its scale


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The images of a test set: by name the HR file and the LR file, None where LR is to be made."""

    pairs: Mapping[str, tuple[Path, Path | None]]
    of: str = ""  # of which images LR is made, where that is not plain
    offenders: tuple[str, ...] = ()  # files that are in no pair


def root_of(folder: Path) -> Path:
    """The folder of the whole test set, where `folder` is the one of its HR images or of one scale."""
    name = folder.resolve().name
    return folder.resolve().parent if _SRF_FOLDER.fullmatch(name) or name in _HR_FOLDERS else folder


def is_div2k(root: Path) -> bool:
    """Whether it is in the layout in which DIV2K is unpacked."""
    return (root / DIV2K_HR).is_dir()


def scales_of(folder: Path) -> tuple[int, ...]:
    """The scales for which there are LR images in `folder`; none if they are made here, for any scale."""
    root = root_of(folder)
    return tuple(scale for scale in SCALES if _files_srf(root, scale, "LR") or _folder(root, _LR_FOLDERS, scale))


def find(folder: Path, scale: int, degradation: str, *, max_pixels: int) -> Found:
    """The images in `folder` for `scale`; none if there are none.

    Raises:
        SourceError: there are images for other scales only, or none of the degradation.
    """
    root = root_of(folder)
    if is_div2k(root):
        return _div2k(root, scale, degradation)
    srf = _srf(root, scale, max_pixels)
    found = srf or _beside(root, scale, folder.resolve().name) or Found(pairs=_by_stem(images_in(folder)))
    offenders = found.offenders + _copies(hr for hr, _ in found.pairs.values())
    if degradation != BICUBIC:  # what lies there is bicubic
        return Found(pairs={key: (hr, None) for key, (hr, _) in found.pairs.items()}, offenders=offenders)
    return dataclasses.replace(found, offenders=offenders)


def _by_stem(paths: Sequence[Path]) -> dict[str, tuple[Path, Path | None]]:
    return {path.stem: (path, None) for path in paths}


def _copies(chosen: Iterable[Path]) -> tuple[str, ...]:
    """A line on every image that has another's name and another suffix."""
    used = set(chosen)
    beside = [path for folder in sorted({path.parent for path in used}) for path in images_in(folder)]
    stems = {path.stem for path in used}
    return tuple(
        f"{path.name}: there is another image of this name in {path.parent}; keep one"
        for path in beside
        if path not in used and path.stem in stems
    )


def _files_srf(root: Path, scale: int, kind: str = "HR") -> dict[str, Path]:
    places = [place for place in (root, root / f"image_SRF_{scale}") if place.is_dir()]
    named = [(path, _SRF.fullmatch(path.stem)) for place in places for path in images_in(place)]
    return {
        match["key"]: path for path, match in named if match and int(match["scale"]) == scale and match["kind"] == kind
    }


def _srf(root: Path, scale: int, max_pixels: int) -> Found | None:
    """The pairs of the layout with SRF in its names."""
    all_hr = {other: _files_srf(root, other) for other in SCALES}
    own, largest = all_hr[scale], all_hr[_LARGEST]
    if not any(all_hr.values()):
        return None
    if largest and scale != _LARGEST and (not own or _are_halves(own, largest, max_pixels)):
        made = {key: (path, None) for key, path in largest.items()}
        return Found(pairs=made, of=f"the HR images for x{_LARGEST}")
    if not own:
        has = ", ".join(f"x{other}" for other, found in all_hr.items() if found)
        raise SourceError(f"{root}: holds images for {has}, the model is for x{scale}; take a folder for x{scale}")
    lr = _files_srf(root, scale, "LR")
    elsewhere = {key: other for other, found in all_hr.items() for key in found if key not in own}
    offenders = [f"{key}: is there for x{other} and not for x{scale}" for key, other in sorted(elsewhere.items())]
    offenders += [f"{path.name}: has no HR image" for key, path in lr.items() if key not in own]
    pairs = {
        key: (path, lr.get(key, path.with_stem(f"{path.stem[:-2]}LR")) if lr else None) for key, path in own.items()
    }
    return Found(pairs=pairs, offenders=tuple(offenders))


def _are_halves(small: Mapping[str, Path], large: Mapping[str, Path], max_pixels: int) -> bool:
    """Whether each image of `small` has half the sides of its namesake in `large`."""
    both = sorted(small.keys() & large.keys())
    try:
        sizes = [[read_size(each[key], max_pixels=max_pixels) for each in (small, large)] for key in both]
    except ImageError:
        return False  # it will be said of the image itself
    return bool(both) and all(
        abs(2 * low - high) <= _CROPPED for pair in sizes for low, high in zip(*pair, strict=True)
    )


def _beside(root: Path, scale: int, preferred: str) -> Found | None:
    """The pairs of a folder with one folder for HR and others for LR; without one for this scale, LR is made."""
    hr_folder = _folder(root, (preferred, *_HR_FOLDERS) if preferred in _HR_FOLDERS else _HR_FOLDERS, scale)
    lr_folder = _folder(root, _LR_FOLDERS, scale)
    if hr_folder is None:
        return None
    hr = images_in(hr_folder)
    if lr_folder is None:
        return Found(pairs=_by_stem(hr))
    lr = {path.stem.removesuffix(f"x{scale}"): path for path in images_in(lr_folder)}
    keys = {path.stem for path in hr}
    return Found(
        pairs={path.stem: (path, lr.get(path.stem, lr_folder / f"{path.stem}x{scale}.png")) for path in hr},
        offenders=tuple(f"{path.name}: has no HR image in {hr_folder}" for key, path in lr.items() if key not in keys),
    )


def _folder(root: Path, patterns: Sequence[str], scale: int) -> Path | None:
    """The first folder below `root` that is called like one of `patterns` and holds images."""
    found = (path for pattern in patterns for path in sorted(root.glob(pattern.format(scale=scale))))
    return next((path for path in found if path.is_dir() and images_in(path)), None)


def _div2k(root: Path, scale: int, degradation: str) -> Found:
    """DIV2K's validation images, with the LR files of a track where its folder is there."""
    hr = images_in(root / DIV2K_HR)
    pairs: dict[str, tuple[Path, Path | None]] = {}
    for path in hr:
        lr = lr_files(path, root, "valid", degradation, scale)[0]
        pairs[path.stem] = (path, lr if lr.parent.is_dir() and degradation != "second_order" else None)
    wanted = {lr for _, lr in pairs.values()}
    folders = {lr.parent for lr in wanted if lr is not None}
    spare = [path for folder in sorted(folders) for path in images_in(folder) if path not in wanted]
    offenders = tuple(f"{path.name}: has no HR image in {root / DIV2K_HR}" for path in spare)
    return Found(pairs=pairs, offenders=offenders + _copies(hr))
