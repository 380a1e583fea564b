"""The sample: the colour photographs that ship inside the scikit-image and scikit-learn wheels, in DIV2K's layout.

Nothing is downloaded. They are decoded once, with bicubic LR images written beside them. Left out are the wheels'
grey images, their drawings and charts (logo, chessboard_RGB, color, phantom), their thumbnails, and the two medical
images (retina: a disc on black; ihc: stained tissue): a network for photographs learns nothing from them. The two
motorcycle views are one scene, so both train.
"""

import dataclasses
import importlib.util
import json
from pathlib import Path

from sr_core.data.archives import Split
from sr_core.data.images import read_rgb, write_png
from sr_core.data.resize import bicubic_down
from sr_core.errors import SourceError, listed
from sr_core.files import (
    FileRecord,
    commit_directory,
    digest_of,
    lock_directory,
    mismatch,
    record_of,
    sha256_bytes,
    to_json,
    write_atomic,
)
from sr_core.progress import Progress

SAMPLE_SCALES = (2, 3, 4)

_MANIFEST = "manifest.json"
_CC0 = "CC0 1.0, as skimage/data/_fetchers.py states"
_CC_BY = "CC BY 2.0, as sklearn/datasets/images/README.txt states"
_MIDDLEBURY = "not stated in the package; the authors' terms are on the origin's page"
_SCHARSTEIN = (
    "D. Scharstein et al., Middlebury 2014 stereo benchmark, http://vision.middlebury.edu/stereo/data/scenes2014/"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplePhoto:
    """A photograph inside an installed package."""

    key: str
    split: Split
    package: str
    path: str  # below the package's folder
    sha256: str
    licence: str
    origin: str


SAMPLE: tuple[SamplePhoto, ...] = (
    SamplePhoto(
        key="astronaut",
        split="train",
        package="skimage",
        path="data/astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        licence="public domain (no known copyright restrictions), as skimage/data/_fetchers.py states",
        origin="NASA Great Images, https://flic.kr/p/r9qvLn",
    ),
    SamplePhoto(
        key="chelsea",
        split="valid",
        package="skimage",
        path="data/chelsea.png",
        sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        licence=_CC0,
        origin="Stefan van der Walt",
    ),
    SamplePhoto(
        key="china",
        split="train",
        package="sklearn",
        path="datasets/images/china.jpg",
        sha256="8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        licence=_CC_BY,
        origin="danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035/",
    ),
    SamplePhoto(
        key="coffee",
        split="valid",
        package="skimage",
        path="data/coffee.png",
        sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        licence=_CC0,
        origin="Rachel Michetti, courtesy of Pikolo Espresso Bar",
    ),
    SamplePhoto(
        key="flower",
        split="train",
        package="sklearn",
        path="datasets/images/flower.jpg",
        sha256="a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        licence=_CC_BY,
        # the README's text names danielbuechele here too, its link names vultilion
        origin="vultilion, https://www.flickr.com/photos/vultilion/6056698931/",
    ),
    SamplePhoto(
        key="hubble_deep_field",
        split="train",
        package="skimage",
        path="data/hubble_deep_field.jpg",
        sha256="3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        licence="public domain (NASA), as skimage/data/_fetchers.py states",
        origin="NASA, http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    ),
    SamplePhoto(
        key="motorcycle_left",
        split="train",
        package="skimage",
        path="data/motorcycle_left.png",
        sha256="db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        licence=_MIDDLEBURY,
        origin=_SCHARSTEIN,
    ),
    SamplePhoto(
        key="motorcycle_right",
        split="train",
        package="skimage",
        path="data/motorcycle_right.png",
        sha256="5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
        licence=_MIDDLEBURY,
        origin=_SCHARSTEIN,
    ),
    SamplePhoto(
        key="rocket",
        split="train",
        package="skimage",
        path="data/rocket.jpg",
        sha256="c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        licence="public domain (SpaceX), as skimage/data/_fetchers.py states",
        origin="SpaceX, https://www.flickr.com/photos/spacexphotos/16511594820/",
    ),
)


def materialise(root: Path, *, progress: Progress) -> Path:
    """raw/sample below `root`, complete and verified.

    Raises:
        SourceError: the packages are not installed or hold other photographs, or others lie among the sample.
    """
    raw = root / "raw" / "sample"
    with lock_directory(root / ".locks" / "raw-sample"):
        if _is_whole(raw, progress):
            return raw
        sources = _verified_sources()
        progress.start("Writing the sample photographs", total=len(SAMPLE))
        with commit_directory(raw) as temporary:
            for photo in SAMPLE:
                _write_photo(photo, sources[photo.key], temporary)
                progress.advance()
            write_atomic(temporary / "SOURCES.md", _sources_text())
            files = {str(file.relative_to(temporary)): record_of(file) for file in _files_below(temporary)}
            records = {name: dataclasses.asdict(record) for name, record in files.items()}
            write_atomic(temporary / _MANIFEST, to_json({"table": _table_digest(), "files": records}))
    return raw


def _is_whole(raw: Path, progress: Progress) -> bool:
    """Whether `raw` holds what its manifest says, made from this version's table.

    Raises:
        SourceError: it holds other files as well, which would be trained on.
    """
    try:
        manifest = json.loads((raw / _MANIFEST).read_text(encoding="utf-8"))
        expected = {name: FileRecord(**record) for name, record in manifest["files"].items()}
        current = manifest["table"] == _table_digest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    foreign = [str(file) for file in _files_below(raw) if str(file.relative_to(raw)) not in {*expected, _MANIFEST}]
    if foreign:
        raise SourceError(
            f"{raw}: holds {len(foreign)} files that are not of the sample; move them away, and train on photographs "
            f"of your own with data.source=folder:{listed(foreign)}"
        )
    damage = [text for name, record in expected.items() if (text := mismatch(raw / name, record))]
    if damage:
        progress.say(f"{raw} is damaged and is written again:{listed(damage)}")
    return current and not damage


def _verified_sources() -> dict[str, Path]:
    found = {photo.key: _installed(photo) for photo in SAMPLE}
    wrong = [
        f"{path}: not the photograph that was published (sha256 differs)" if path.is_file() else f"{path}: missing"
        for photo in SAMPLE
        for path in [found[photo.key]]
        if not path.is_file() or sha256_bytes(path.read_bytes()) != photo.sha256
    ]
    if wrong:
        raise SourceError(f"data.source: sample cannot be read from the installed packages; {_INSTALL}:{listed(wrong)}")
    return found


def _installed(photo: SamplePhoto) -> Path:
    spec = importlib.util.find_spec(photo.package)
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(f"data.source: sample needs the package {photo.package}, which is not installed; {_INSTALL}")
    return Path(spec.submodule_search_locations[0]) / photo.path


_INSTALL = "install the extra `sample`: pip install -c constraints.txt -e '.[sample]'"


def _write_photo(photo: SamplePhoto, source: Path, raw: Path) -> None:
    image = read_rgb(source)
    write_png(raw / f"DIV2K_{photo.split}_HR" / f"{photo.key}.png", image)
    for scale in SAMPLE_SCALES:
        folder = raw / f"DIV2K_{photo.split}_LR_bicubic" / f"X{scale}"
        write_png(folder / f"{photo.key}x{scale}.png", bicubic_down(image, scale))


def _files_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _table_digest() -> str:
    return digest_of([dataclasses.asdict(photo) for photo in SAMPLE])


def _sources_text() -> str:
    lines = [
        "# Origins and licences",
        "",
        "Photographs from the installed scikit-image and scikit-learn packages, as 8-bit RGB PNG, and bicubic",
        "reductions of them.",
        "",
        "| photograph | split | file | origin | licence |",
        "|---|---|---|---|---|",
    ]
    for photo in SAMPLE:
        where = f"{photo.package}/{photo.path}"
        lines.append(f"| {photo.key} | {photo.split} | {where} | {photo.origin} | {photo.licence} |")
    return "\n".join(lines) + "\n"
