import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from photos import noise, params_for, write_folder

from sr_core.data import sample as sample_room
from sr_core.data.images import read_rgb, write_png
from sr_core.data.pairs import hr_files
from sr_core.data.resize import bicubic_down
from sr_core.data.sample import SAMPLE
from sr_core.data.sources import dataset_name, materialise
from sr_core.errors import SourceError
from sr_core.params import DataParams
from sr_core.progress import QUIET


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample photographs, written once; tests that change them take a copy."""
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    return materialise(DataParams(root=str(tmp_path_factory.mktemp("data"))), progress=QUIET)


def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of one photograph of either split: quick to write."""
    monkeypatch.setattr(sample_room, "SAMPLE", tuple(photo for photo in SAMPLE if photo.key in {"chelsea", "rocket"}))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_sample_has_the_layout_of_div2k(sample: Path) -> None:
    assert names(sample / "DIV2K_valid_HR") == ["chelsea.png", "coffee.png"]
    assert names(sample / "DIV2K_train_HR") == [
        "astronaut.png",
        "china.png",
        "flower.png",
        "hubble_deep_field.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "rocket.png",
    ]
    for scale in (2, 3, 4):
        lr = read_rgb(sample / f"DIV2K_valid_LR_bicubic/X{scale}/chelseax{scale}.png")
        np.testing.assert_array_equal(lr, bicubic_down(read_rgb(sample / "DIV2K_valid_HR/chelsea.png"), scale))


def test_the_sample_is_what_the_packages_hold(sample: Path) -> None:
    for photo in SAMPLE:
        spec = importlib.util.find_spec(photo.package)
        original = Path(spec.submodule_search_locations[0]) / photo.path
        written = sample / f"DIV2K_{photo.split}_HR" / f"{photo.key}.png"
        np.testing.assert_array_equal(read_rgb(written), read_rgb(original))


def test_origins_and_licences_are_listed(sample: Path) -> None:
    text = (sample / "SOURCES.md").read_text()

    for photo in SAMPLE:
        assert photo.licence in text
        assert photo.origin in text


def test_a_second_call_writes_nothing(sample: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in sample.rglob("*")}
    materialise(DataParams(root=str(sample.parents[1])), progress=QUIET)

    assert before == {file: file.stat().st_mtime_ns for file in sample.rglob("*")}


@pytest.mark.parametrize("damage", ["flip", "delete", "manifest"])
def test_a_damaged_sample_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    few(monkeypatch)
    raw = materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    victim = raw / ("manifest.json" if damage == "manifest" else "DIV2K_train_HR/rocket.png")
    whole = victim.read_bytes()
    if damage == "flip":
        victim.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    else:
        victim.unlink()

    materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    assert victim.read_bytes() == whole
    assert names(raw.parent) == ["sample"]


def test_another_table_writes_the_sample_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    raw = materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    monkeypatch.setattr(sample_room, "SAMPLE", sample_room.SAMPLE[:1])
    materialise(DataParams(root=str(tmp_path)), progress=QUIET)

    assert all("rocket" not in name for name in json.loads((raw / "manifest.json").read_text())["files"])
    assert not (raw / "DIV2K_train_HR").exists()


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(
        SourceError, match=r"skimage, which is not installed; .*pip install -c constraints.txt -e '\.\["
    ):
        materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    assert not (tmp_path / "raw").exists()


def test_other_photographs_under_the_same_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [dataclasses.replace(photo, sha256="0" * 64) for photo in SAMPLE if photo.key in {"chelsea", "rocket"}]
    monkeypatch.setattr(sample_room, "SAMPLE", tuple(wrong))

    with pytest.raises(SourceError, match=r"(?s)chelsea\.png: not the photograph.*rocket\.jpg: not the photograph"):
        materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    assert not (tmp_path / "raw").exists()


def test_a_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "holidays", [(20, 20)] * 2)
    params = params_for(tmp_path / "data", folder)

    assert materialise(params, progress=QUIET) == folder
    assert dataset_name(params).startswith("holidays-")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("num_images", [None, 0, 1])
def test_a_folder_needs_two_images(tmp_path: Path, num_images: int | None) -> None:
    folder = tmp_path / "holidays"
    if num_images is not None:
        folder.mkdir()
        write_folder(folder, [(20, 20)] * num_images)

    with pytest.raises(SourceError, match=r"data\.folder: .*holidays.* expected a folder of at least two HR images"):
        materialise(params_for(tmp_path, folder), progress=QUIET)


def valid_list(folder: Path, text: str | bytes) -> str:
    path = folder / "valid.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_validation_images_can_be_listed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("a.png", "b b.jpg", "c#1.png", "d #2.png", "#e.png", "\u00e4.png", "z.png"):
        write_png(folder / "00.png", noise(20, 20))
        (folder / "00.png").replace(folder / name)
    text = "\ufeffa\r\n\n# a comment\n  b b.jpg   # another\nc#1\nd #2.png\n#e.png\na\u0308\na.png\n"
    params = params_for(tmp_path, folder, valid_list=valid_list(tmp_path, text))

    assert materialise(params, progress=QUIET) == folder
    files = hr_files(params, folder)
    assert [file.name for file in files["train"]] == ["z.png"]
    assert len(files["valid"]) == 6


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# nothing\n", r"valid\.txt names no image of .*photos, expected some of them"),
        ("00\n01\n", r"valid\.txt names all images of"),
        (b"\xff\n", r"valid\.txt is not UTF-8 text"),
        (
            "00\nzz.png\n\n01.jpg\n",
            r"names 2 images that are not in .*photos, .*\n  line 2: 'zz\.png'\n  line 4: '01\.jpg'\Z",
        ),
    ],
)
def test_a_list_that_cannot_be_followed(tmp_path: Path, text: str | bytes, reason: str) -> None:
    folder = write_folder(tmp_path / "photos", [(20, 20)] * 2)
    with pytest.raises(SourceError, match=rf"data\.valid_list: {'.*'}{reason}"):
        materialise(params_for(tmp_path, folder, valid_list=valid_list(tmp_path, text)), progress=QUIET)


@pytest.mark.parametrize("path", ["nowhere.txt", "."])
def test_a_list_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    folder = write_folder(tmp_path / "photos", [(20, 20)] * 2)
    with pytest.raises(SourceError, match=r"data\.valid_list: .* cannot be read \("):
        materialise(params_for(tmp_path, folder, valid_list=str(tmp_path / path)), progress=QUIET)


def test_the_rule_of_the_split_is_a_parameter(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(20, 20)] * 7)
    files = hr_files(params_for(tmp_path, folder, valid_every=3), folder)
    assert {split: [file.stem for file in each] for split, each in files.items()} == {
        "train": ["01", "02", "04", "05"],
        "valid": ["00", "03", "06"],
    }


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"data\.folder: .*a\.png is not a folder"):
        materialise(params_for(tmp_path, tmp_path / "a.png"), progress=QUIET)


def test_what_a_layout_with_a_split_of_its_own_would_ignore_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    for name in ("DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png"):
        write_png(folder / name, noise(20, 20))
    with pytest.raises(SourceError, match=r"data\.valid_list: expected null, because .* is split already"):
        materialise(params_for(tmp_path, folder, valid_list=valid_list(tmp_path, "0001")), progress=QUIET)


def test_a_folder_in_div2ks_layout_needs_both_splits(tmp_path: Path) -> None:
    write_png(tmp_path / "f" / "DIV2K_train_HR" / "0001.png", noise(20, 20))

    with pytest.raises(SourceError, match="DIV2K_valid_HR holds no images"):
        materialise(params_for(tmp_path, tmp_path / "f"), progress=QUIET)


def test_two_folders_never_share_a_name(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "photos", tmp_path / "b" / "photos", tmp_path / "sample", tmp_path / "div2k"]
    names = {dataset_name(params_for(tmp_path, folder)) for folder in folders}
    assert len(names) == len(folders)
    assert not names & {"sample", "div2k"}


def test_a_picture_put_among_the_samples_is_named_and_left_there(tmp_path: Path) -> None:
    raw = materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    mine = raw / "DIV2K_train_HR" / "mine.png"
    write_png(mine, noise(8, 8))

    with pytest.raises(SourceError, match=r"(?s)1 files that are not of the sample; .*mine\.png"):
        materialise(DataParams(root=str(tmp_path)), progress=QUIET)
    assert mine.exists()
