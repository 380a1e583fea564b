"""DIV2K's 22 archives as its authors publish them: name, bytes, sha256, and the files that each one holds.

Agustsson and Timofte 2017, https://data.vision.ee.ethz.ch/cvl/DIV2K/. Training images are 0001 to 0800, validation
images 0801 to 0900. Each archive owns one folder of the tree, so that its files appear by one rename:

    DIV2K_train_HR/0001.png
    DIV2K_train_LR_bicubic/X4/0001x4.png    X2, X3, X4; unknown likewise
    DIV2K_train_LR_x8/0001x8.png            bicubic, from HR cropped to LR x 8
    DIV2K_train_LR_mild/0001x4m.png         x4 only; difficult: x4d
    DIV2K_train_LR_wild/0001x4w1.png        x4 only, four of each training image, x4w1 to x4w4
    DIV2K_valid_LR_wild/0801x4w.png         one of each validation image, with or without a digit at the end
"""

import dataclasses
import re
from pathlib import Path
from typing import Literal, TypeAlias

from sr_core.errors import SourceError, listed
from sr_core.files import FileRecord, mismatch
from sr_core.params import DataParams

Split: TypeAlias = Literal["train", "valid"]

HOME = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
NUMBERS: dict[Split, range] = {"train": range(1, 801), "valid": range(801, 901)}
MADE_HERE = {"second_order"}  # tracks that no archive holds, drawn from HR

_LETTER = {"mild": "m", "difficult": "d", "wild": "w"}
_NUM_WILD = 4  # of each training image


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """One zip file. `track` is None for HR, whose scale is 1."""

    split: Split
    track: str | None
    scale: int
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name: `DIV2K_train_LR_bicubic_X4.zip`."""
        return self.folder.replace("/", "_") + ".zip"

    @property
    def folder(self) -> str:
        """The folder below data/raw/div2k that holds its files and no other's: `DIV2K_train_LR_bicubic/X4`."""
        if self.track is None:
            return f"DIV2K_{self.split}_HR"
        if self.track in _LETTER:
            return f"DIV2K_{self.split}_LR_{self.track}"
        if (self.track, self.scale) == ("bicubic", 8):
            return f"DIV2K_{self.split}_LR_x8"
        return f"DIV2K_{self.split}_LR_{self.track}/X{self.scale}"

    def url(self, mirror: str | None = None) -> str:
        """Where it is published, or its place below the base URL of a mirror."""
        return f"{(mirror or HOME).rstrip('/')}/{self.name}"

    def files(self, key: str) -> tuple[str, ...]:
        """Its files of the image `key`, such as 0001, as paths below data/raw/div2k."""
        if self.track is None:
            return (f"{self.folder}/{key}.png",)
        stem = f"{self.folder}/{key}x{self.scale}{_LETTER.get(self.track, '')}"
        if self.track == "wild" and self.split == "train":
            return tuple(f"{stem}{number}.png" for number in range(1, _NUM_WILD + 1))
        return (f"{stem}.png",)


def _archive(split: Split, track: str | None, scale: int, size: int, sha256: str) -> Archive:
    return Archive(split=split, track=track, scale=scale, bytes=size, sha256=sha256)


# fmt: off
ARCHIVES: tuple[Archive, ...] = (
    _archive("train", None, 1, 3_530_603_713, "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"),
    _archive("valid", None, 1, 448_993_893, "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"),
    _archive("train", "bicubic", 2, 925_390_592, "a53a424317575838dadce4bcd97cf7b744d6855f43740ed5f0245af3cf4bd850"),
    _archive("valid", "bicubic", 2, 117_763_600, "60eed9875c697df51204aa579e2a699e1d5215095788a097ff54dd17e2664d57"),
    _archive("train", "bicubic", 3, 427_847_282, "ad5c8e5507e2765823d3c2c5bd0934842efcd487c5370604c224090898b3163a"),
    _archive("valid", "bicubic", 3, 54_513_392, "04b9a2ed3b4a0715d3924d3ae8514830c3328fac8d30512ce716d6f419e052a3"),
    _archive("train", "bicubic", 4, 246_914_039, "f006b837f4eb52b82909aa01478e6d6d199eefce932179491d0c9dbb706dde3a"),
    _archive("valid", "bicubic", 4, 31_505_881, "a50a5d1c4b88de4e8d300d8fb2b904c52fe93b2b298a4899697760d7cbb6d553"),
    _archive("train", "bicubic", 8, 65_753_171, "706fa23164fa0756a3accb78e69b937ea47f882b47e13506895deefd623a35c2"),
    _archive("valid", "bicubic", 8, 8_428_103, "3432f23da7c6887acc5e2cde9669427a7710b3b256c58912dddc19e3eda5bc69"),
    _archive("train", "unknown", 2, 734_182_735, "f166eeba119fc55bfc9a99c05561980e7a965382f36640ce8ef626c9f61d122c"),
    _archive("valid", "unknown", 2, 93_433_041, "ec50bb084c0011130874efd2ed7859b46e0aa7104c565818d5271ac315e04e0a"),
    _archive("train", "unknown", 3, 377_245_548, "b6455af3b2aa02d76ae3238c49d7aae3b48b0acdc44b5bdc0f4c02d40ebcb43b"),
    _archive("valid", "unknown", 3, 48_143_315, "ebf23a3e1ef6800cae97285d3a50d022d89b62655e685884c0abcc89eec5b809"),
    _archive("train", "unknown", 4, 208_956_781, "d131c7aad51e0abbdc4433362ce899e5e75f40b9847ead70ee995188e8fd0adb"),
    _archive("valid", "unknown", 4, 26_695_095, "e3897555a98de1157c20974fb6093105fbc1ff5e9caf7bd348f58f6da140fbef"),
    _archive("train", "mild", 4, 275_693_358, "ce5fbe6252d1000c55656b0666dccdeaf8e66b86ae5ff528c49343012e8e1391"),
    _archive("valid", "mild", 4, 35_300_939, "eedfbcb6acc6662a3f52924aaa5a423693244f3276d37c3fca7944c7325859ff"),
    _archive("train", "difficult", 4, 263_211_252, "50624a649a0857fdb8e4a948e79c44c37dedbacb5729f9349cc983c47bfdf799"),
    _archive("valid", "difficult", 4, 33_596_835, "08b4e740496b50846497463121329c707dd8ed26eb8a655d175e9a595286d5e8"),
    _archive("train", "wild", 4, 1_079_873_385, "ce68f7db812d12241212bb9d6b07406472bef3d785c463238888b44189c5ceb3"),
    _archive("valid", "wild", 4, 34_655_417, "ce921d2048eef3e1fd9ba359d1876b1c93e33bd7a531306f7782672391df9820"),
)
# fmt: on


def layout(split: Split, track: str | None, scale: int) -> Archive:
    """How the files of a track are named, whether such an archive is published or not."""
    return _archive(split, track, scale, 0, "")


def needed(params: DataParams) -> tuple[Archive, ...]:
    """The archives that a run needs: both splits of HR, and of each track for which there are any.

    Raises:
        SourceError: DIV2K has no images of a track at `params.scale`; lists all such tracks.
    """
    tracks = [track for track in params.tracks if track not in MADE_HERE]
    lacking = [track for track in tracks if not _of(track, params.scale)]
    if lacking:
        raise SourceError(
            f"data.degradation: DIV2K has no images of {', '.join(lacking)} at data.scale {params.scale}; "
            f"expected one of:{listed(_offered())}"
        )
    return tuple(
        archive for track, scale in ((None, 1), *((t, params.scale) for t in tracks)) for archive in _of(track, scale)
    )


def members(archive: Archive) -> tuple[str, ...]:
    """Every file that `archive` holds, as a path below data/raw/div2k, sorted."""
    return tuple(file for number in NUMBERS[archive.split] for file in archive.files(f"{number:04}"))


def member_of(archive: Archive, name: str) -> str:
    """The member for which `name` stands in the zip: itself, but for the tolerated digit of wild validation images."""
    if archive.track == "wild" and archive.split == "valid":
        return re.sub(r"(x4w)[0-9]\.png\Z", r"\1.png", name)
    return name


def locate(archive: Archive, folder: Path) -> Path | None:
    """`archive` in a folder of already downloaded ones, which is only read, or None if it is not there.

    Raises:
        SourceError: there is no such folder, or the file of that name in it is not the published one.
    """
    if not folder.is_dir():
        raise SourceError(f"data.archives: there is no folder {folder}, expected one that holds DIV2K's zip files")
    path = folder / archive.name
    if not path.exists():
        return None
    difference = mismatch(path, FileRecord(bytes=archive.bytes, sha256=archive.sha256))
    if difference:
        raise SourceError(f"data.archives: {difference}; take this file out, and it is fetched from {archive.url()}")
    return path


def _of(track: str | None, scale: int) -> tuple[Archive, ...]:
    return tuple(archive for archive in ARCHIVES if (archive.track, archive.scale) == (track, scale))


def _offered() -> list[str]:
    scales: dict[str, list[str]] = {}
    for archive in ARCHIVES:
        if archive.track is not None and archive.split == "train":
            scales.setdefault(archive.track, []).append(str(archive.scale))
    return [f"{track}: {', '.join(each)}" for track, each in scales.items()]
