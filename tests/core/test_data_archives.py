"""DIV2K's table against the published list, and what a run needs of it."""

import csv
import hashlib
from pathlib import Path

import pytest

from sr_core.data import archives
from sr_core.data.archives import ARCHIVES, Archive, locate, member_of, members, needed
from sr_core.errors import SourceError
from sr_core.params import DataParams


def params(**values: object) -> DataParams:
    return DataParams(**{"source": "div2k", **values})


def one(name: str) -> Archive:
    return next(archive for archive in ARCHIVES if archive.name == name)


def names(found: tuple[Archive, ...]) -> list[str]:
    return [archive.name.removeprefix("DIV2K_").removesuffix(".zip") for archive in found]


def test_the_table_is_the_published_one(shared: Path) -> None:
    with (shared / "reference" / "div2k_archives.tsv").open(newline="") as file:
        published = {(row["url"], int(row["bytes"]), row["sha256"]) for row in csv.DictReader(file, delimiter="\t")}

    assert {(archive.url(), archive.bytes, archive.sha256) for archive in ARCHIVES} == published
    assert len(ARCHIVES) == len(published) == 22


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"scale": 2}, ["train_HR", "valid_HR", "train_LR_bicubic_X2", "valid_LR_bicubic_X2"]),
        ({"scale": 8}, ["train_HR", "valid_HR", "train_LR_x8", "valid_LR_x8"]),
        (
            {"scale": 3, "degradation": "unknown"},
            ["train_HR", "valid_HR", "train_LR_unknown_X3", "valid_LR_unknown_X3"],
        ),
        ({"degradation": "wild"}, ["train_HR", "valid_HR", "train_LR_wild", "valid_LR_wild"]),
        ({"scale": 8, "degradation": "second_order"}, ["train_HR", "valid_HR"]),
        (
            {"degradation": "mixed", "mixed": {"mild": 1, "second_order": 1, "difficult": 2}},
            ["train_HR", "valid_HR", "train_LR_mild", "valid_LR_mild", "train_LR_difficult", "valid_LR_difficult"],
        ),
    ],
)
def test_only_what_a_run_needs(wanted: dict[str, object], expected: list[str]) -> None:
    assert names(needed(params(**wanted))) == expected


def test_every_track_that_div2k_lacks_is_named() -> None:
    lacking = {"bicubic": 1, "unknown": 1, "wild": 1, "second_order": 1}
    with pytest.raises(SourceError, match=r"(?s)no images of unknown, wild at data\.scale 8; .*unknown: 2, 3, 4"):
        needed(params(scale=8, degradation="mixed", mixed=lacking))


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("DIV2K_train_HR.zip", 800, "DIV2K_train_HR/0001.png", "DIV2K_train_HR/0800.png"),
        ("DIV2K_valid_HR.zip", 100, "DIV2K_valid_HR/0801.png", "DIV2K_valid_HR/0900.png"),
        ("DIV2K_train_LR_bicubic_X4.zip", 800, "DIV2K_train_LR_bicubic/X4/0001x4.png", "…/0800x4.png"),
        ("DIV2K_valid_LR_unknown_X3.zip", 100, "DIV2K_valid_LR_unknown/X3/0801x3.png", "…/0900x3.png"),
        ("DIV2K_train_LR_x8.zip", 800, "DIV2K_train_LR_x8/0001x8.png", "…/0800x8.png"),
        ("DIV2K_train_LR_mild.zip", 800, "DIV2K_train_LR_mild/0001x4m.png", "…/0800x4m.png"),
        ("DIV2K_valid_LR_difficult.zip", 100, "DIV2K_valid_LR_difficult/0801x4d.png", "…/0900x4d.png"),
        ("DIV2K_train_LR_wild.zip", 3200, "DIV2K_train_LR_wild/0001x4w1.png", "…/0800x4w4.png"),
        ("DIV2K_valid_LR_wild.zip", 100, "DIV2K_valid_LR_wild/0801x4w.png", "…/0900x4w.png"),
    ],
)
def test_members_lie_as_the_authors_packed_them(name: str, count: int, first: str, last: str) -> None:
    archive = one(name)
    found = members(archive)

    assert (len(found), found[0], found[-1]) == (count, first, last.replace("…", archive.folder))
    assert list(found) == sorted(set(found))
    assert {str(Path(member).parent) for member in found} == {archive.folder}


def test_no_two_archives_own_one_folder() -> None:
    folders = [archive.folder for archive in ARCHIVES]
    assert not [(a, b) for a in folders for b in folders if a != b and f"{b}/".startswith(f"{a}/")]
    assert len(set(folders)) == 22


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("0801x4w.png", "0801x4w.png"),
        ("0801x4w1.png", "0801x4w.png"),
        ("0801x4w9.png", "0801x4w.png"),
        ("0801x4w12.png", "0801x4w12.png"),
        ("0801x4w٣.png", "0801x4w٣.png"),
        ("0801x4w1.png\n", "0801x4w1.png\n"),
    ],
)
def test_a_wild_validation_image_may_be_numbered(name: str, meant: str) -> None:
    folder = "DIV2K_valid_LR_wild"
    assert member_of(one(f"{folder}.zip"), f"{folder}/{name}") == f"{folder}/{meant}"
    for other in ("DIV2K_train_LR_wild.zip", "DIV2K_valid_LR_mild.zip"):
        assert member_of(one(other), name) == name


@pytest.mark.parametrize("base", ["http://mirror:8000/div2k", "http://mirror:8000/div2k/"])
def test_a_mirror_is_a_base_url(base: str) -> None:
    assert one("DIV2K_train_LR_x8.zip").url(base) == "http://mirror:8000/div2k/DIV2K_train_LR_x8.zip"


def test_downloaded_archives_are_located_and_verified(tmp_path: Path) -> None:
    content = b"PK archive"
    archive = archives.Archive(
        split="valid", track=None, scale=1, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    path = tmp_path / "DIV2K_valid_HR.zip"
    assert locate(archive, tmp_path) is None
    path.write_bytes(content)
    assert locate(archive, tmp_path) == path
    for wrong in (content[:-1], b"pK archive"):
        path.write_bytes(wrong)
        with pytest.raises(SourceError, match=r"data\.archives: .*DIV2K_valid_HR\.zip: .*expected .*take this file"):
            locate(archive, tmp_path)
        assert path.read_bytes() == wrong


def test_a_folder_of_archives_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.archives: there is no folder .*gone"):
        locate(ARCHIVES[0], tmp_path / "gone")
