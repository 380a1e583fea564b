"""A plain folder of photographs: which of them are for validation, and which LR image belongs to which.

Names are compared in Unicode's composed form (NFC): a list typed on one system names the files of another.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sr_core.data.images import SUFFIXES
from sr_core.errors import SourceError, listed, shown
from sr_core.params import DataParams


def images_in(folder: Path) -> tuple[Path, ...]:
    """What has an image's suffix in `folder`, sorted by name, whatever it is; hidden files are no one's photographs."""
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    )


def held_out(params: DataParams, images: Sequence[Path]) -> frozenset[Path]:
    """Those of `images` that are for validation: every `valid_every`-th, or what `valid_list` names.

    Raises:
        SourceError: the list cannot be read, or names images that are not there; lists all of them.
    """
    if params.valid_list is None:
        return frozenset(images[:: params.valid_every])
    by_name: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        for name in {_plain(image.name), _plain(image.stem)}:
            by_name[name].append(image)
    found: set[Path] = set()
    unknown = []
    for number, line in enumerate(_lines(Path(params.valid_list)), start=1):
        if named := _named(line, by_name):
            found.update(named)
        elif line and not line.startswith("#"):
            unknown.append(f"line {number}: {line!r}")
    if unknown:
        raise SourceError(
            f"data.valid_list: {params.valid_list} names {len(unknown)} images that are not in {params.folder}, "
            f"expected one file name of it a line, with or without its suffix:{listed(unknown)}"
        )
    return frozenset(found)


def _named(line: str, by_name: dict[str, list[Path]]) -> list[Path]:
    # a name may hold a #: a comment is what no name explains
    return by_name.get(line) or by_name.get(line.partition(" #")[0].rstrip()) or []


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(
            f"data.valid_list: {path} cannot be read ({error.strerror}), expected a file with one image name a line"
        ) from None
    except UnicodeDecodeError:
        raise SourceError(f"data.valid_list: {path} is not UTF-8 text, expected one image name a line") from None
    return [_plain(line.strip()) for line in text.split("\n")]


def partners(params: DataParams, images: Sequence[Path]) -> tuple[dict[Path, Path], list[str]]:
    """By HR image its LR image in `params.lr_folder`, and a line on every image of either side that has none.

    An LR image has its HR image's stem, or that and `x<S>`; any suffix.
    """
    assert params.lr_folder is not None
    folder = Path(params.lr_folder)
    if not folder.is_dir():
        raise SourceError(
            f"data.lr_folder: there is no folder {folder}, expected LR images of the names of the HR ones"
        )
    if folder.resolve() == Path(params.folder or "").resolve():
        raise SourceError(f"data.lr_folder: {folder} is data.folder too, expected a folder of LR images alone")
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for lr in images_in(folder):
        by_stem[_plain(lr.stem)].append(lr)
    own = {_plain(hr.stem) for hr in images}
    found, offenders = {}, []
    for hr in images:
        stem = _plain(hr.stem)
        scaled = f"{stem}x{params.scale}"
        candidates = by_stem.get(stem, []) + (by_stem.get(scaled, []) if scaled not in own else [])
        if len(candidates) == 1:
            found[hr] = candidates[0]
        elif candidates:
            names = ", ".join(str(path.name) for path in candidates)
            offenders.append(f"{shown(hr)}: has {len(candidates)} LR images in {folder} ({names}); keep one of them")
        else:
            offenders.append(f"{shown(hr)}: has no LR image in {folder}, expected {stem}.png or {scaled}.png")
        for candidate in candidates:
            by_stem.pop(_plain(candidate.stem), None)
    offenders += [f"{shown(lr)}: has no HR image in {params.folder}" for each in by_stem.values() for lr in each]
    return found, offenders


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
