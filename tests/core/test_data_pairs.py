"""Every image that cannot be used is named, in one error, before anything is written."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import CROP, SCALE, noise, params_for, save, sixteen_bit_rgb, write_folder
from PIL import Image

from sr_core.data.archives import Split
from sr_core.data.degrade import lr_of
from sr_core.data.images import write_png
from sr_core.data.pairs import ImagePair, find_all_pairs
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.errors import ImageError, SourceError, SrError
from sr_core.progress import QUIET


def div2k_layout(raw: Path, *, track: str | None = "bicubic", num_train: int = 3) -> Path:
    """Images of 41 x 36 pixels, 0001.png, …, and 0801.png, with x2 LR images of a track."""
    for split, keys in (("train", range(1, num_train + 1)), ("valid", [801])):
        for key in keys:
            write_png(raw / f"DIV2K_{split}_HR" / f"{key:04}.png", noise(36, 41, seed=key))
            if track is not None:
                write_png(raw / f"DIV2K_{split}_LR_{track}" / "X2" / f"{key:04}x2.png", noise(18, 20, seed=key))
    return raw


def pairs_of(raw: Path, **others: Any) -> dict[Split, tuple[ImagePair, ...]]:
    return find_all_pairs(params_for(raw.parent, raw, **others), raw)


def test_div2k_layout(tmp_path: Path) -> None:
    raw = div2k_layout(tmp_path)
    pairs = pairs_of(raw)

    assert [pair.key for pair in pairs["train"]] == ["0001", "0002", "0003"]
    assert [pair.key for pair in pairs["valid"]] == ["0801"]
    first = pairs["train"][0]
    assert first.hr == raw / "DIV2K_train_HR/0001.png"
    assert first.lr == {"bicubic": (raw / "DIV2K_train_LR_bicubic/X2/0001x2.png",)}
    assert (first.height, first.width) == (36, 41)


def test_bicubic_x8_has_a_folder_of_its_own(tmp_path: Path) -> None:
    write_png(tmp_path / "DIV2K_train_HR/0001.png", noise(64, 64))
    write_png(tmp_path / "DIV2K_train_LR_x8/0001x8.png", noise(8, 8))

    (pair,) = pairs_of(tmp_path, scale=8)["train"]
    assert pair.lr == {"bicubic": (tmp_path / "DIV2K_train_LR_x8/0001x8.png",)}


def test_every_tenth_of_a_flat_folder_is_held_out(tmp_path: Path) -> None:
    write_folder(tmp_path, [(16, 16)] * 12)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    pairs = pairs_of(tmp_path)

    assert [pair.key for pair in pairs["valid"]] == ["00", "10"]
    assert [pair.key for pair in pairs["train"]] == [f"{i:02}" for i in (*range(1, 10), 11)]
    assert all(pair.lr == {} for pair in pairs["train"])


def test_lr_is_the_file_where_there_is_one_and_made_here_otherwise(tmp_path: Path) -> None:
    hr, params = noise(36, 41, seed=1), params_for(tmp_path, tmp_path)
    (with_file, *_) = pairs_of(div2k_layout(tmp_path / "a"))["train"]
    (without, *_) = pairs_of(div2k_layout(tmp_path / "b", track=None))["train"]

    np.testing.assert_array_equal(lr_of(with_file, hr, params, "bicubic"), noise(18, 20, seed=1))
    np.testing.assert_array_equal(lr_of(without, hr, params, "bicubic"), bicubic_down(hr, 2))
    np.testing.assert_array_equal(lr_of(without, None, params, "bicubic"), bicubic_down(hr, 2))


def test_what_cannot_be_made_here_needs_files(tmp_path: Path) -> None:
    raw = div2k_layout(tmp_path)
    mixed = {"mild": 1.0, "wild": 2.0}

    with pytest.raises(SourceError) as caught:
        pairs_of(raw, scale=4, degradation="mixed", mixed=mixed)
    message = str(caught.value)
    assert message.count("\n") == 4
    assert all(f"{t}: there is no {raw}/DIV2K_{s}_LR_{t}" in message for t in mixed for s in ("train", "valid"))


def test_what_div2k_offers_is_not_made_here(tmp_path: Path) -> None:
    raw = div2k_layout(tmp_path, track=None)
    unknown = params_for(tmp_path, raw, degradation="unknown")
    mine = find_all_pairs(unknown, raw)
    assert all(pair.lr == {} for pair in mine["train"] + mine["valid"])

    official = dataclasses.replace(unknown, source="div2k", folder=None)
    with pytest.raises(SourceError, match=r"(?s)there is no .*train_LR_unknown/X2\n.*valid_LR_unknown/X2\Z"):
        find_all_pairs(official, raw)


def test_bicubic_x8_is_not_taken_for_unknown(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_png(tmp_path / f"DIV2K_{split}_HR/0001.png", noise(64, 64))
        write_png(tmp_path / f"DIV2K_{split}_LR_x8/0001x8.png", noise(8, 8))
    assert all(pair.lr == {} for pairs in pairs_of(tmp_path, scale=8, degradation="unknown").values() for pair in pairs)


@pytest.mark.parametrize(
    ("source", "remedy"), [("sample", "use data.source: div2k"), ("folder", "name a folder of them in data.lr_folder")]
)
def test_where_lr_images_of_a_track_come_from_is_said(tmp_path: Path, source: str, remedy: str) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 2)
    params = params_for(tmp_path, folder, scale=4, degradation="mild")
    if source == "sample":
        params = dataclasses.replace(params, source="sample", folder=None)
    with pytest.raises(SourceError, match=rf"LR images of mild are missing and cannot be made here; {remedy}"):
        find_all_pairs(params, folder)


def test_unknown_lr_is_given_for_both_splits_or_made_for_both(tmp_path: Path) -> None:
    raw = div2k_layout(tmp_path, track="unknown")
    assert all("unknown" in pair.lr for pairs in pairs_of(raw, degradation="unknown").values() for pair in pairs)
    shutil.rmtree(raw / "DIV2K_valid_LR_unknown")
    with pytest.raises(SourceError, match=r"\n  unknown: there is no .*DIV2K_valid_LR_unknown/X2\Z"):
        pairs_of(raw, degradation="unknown")


def test_every_wanted_track_has_its_files(tmp_path: Path) -> None:
    raw = div2k_layout(tmp_path)
    for split, key, wild in (("train", "0001", (1, 2, 3, 4)), ("valid", "0801", ("",))):
        (raw / f"DIV2K_{split}_HR" / f"{key}.png").replace(raw / "hr.png")
        shutil.rmtree(raw / f"DIV2K_{split}_HR")
        write_png(raw / f"DIV2K_{split}_HR" / f"{key}.png", noise(36, 40))
        write_png(raw / f"DIV2K_{split}_LR_mild/{key}x4m.png", noise(9, 10))
        for end in wild:
            write_png(raw / f"DIV2K_{split}_LR_wild/{key}x4w{end}.png", noise(9, 10))
    mixed = dict.fromkeys(("mild", "wild", "second_order", "bicubic"), 1.0)
    wanted = {"scale": 4, "degradation": "mixed", "mixed": mixed}
    (train,), (valid,) = pairs_of(raw, **wanted).values()

    assert train.lr == {
        "mild": (raw / "DIV2K_train_LR_mild/0001x4m.png",),
        "wild": tuple(raw / f"DIV2K_train_LR_wild/0001x4w{i}.png" for i in (1, 2, 3, 4)),
    }
    assert valid.lr["wild"] == (raw / "DIV2K_valid_LR_wild/0801x4w.png",)
    (raw / "DIV2K_train_LR_wild/0001x4w3.png").unlink()
    (raw / "DIV2K_train_LR_mild/0001x4m.png").unlink()
    with pytest.raises(ImageError, match=r"(?s)2 images cannot be used:\n.*x4m\.png: missing; .*x4w3\.png: missing"):
        pairs_of(raw, **wanted)


def own_lr(tmp_path: Path, names: list[str]) -> Path:
    """A folder of LR images for 00.png, … of 40 x 40 pixels."""
    for i, name in enumerate(names):
        write_png(tmp_path / "lr" / "image.png", noise(20, 20, seed=i))
        (tmp_path / "lr" / "image.png").replace(tmp_path / "lr" / name)
    return tmp_path / "lr"


def test_a_flat_folder_may_have_lr_images_of_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 3)
    lr = own_lr(tmp_path, ["00.png", "01x2.PNG", "02x2.png", "notes.txt"])
    pairs = pairs_of(folder, lr_folder=str(lr), degradation="unknown")

    found = {pair.key: pair.lr for split in pairs.values() for pair in split}
    names = {"00": "00.png", "01": "01x2.PNG", "02": "02x2.png"}
    assert found == {key: {"unknown": (lr / name,)} for key, name in names.items()}


def test_images_without_partners_are_named_on_both_sides(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 4)
    lr = own_lr(tmp_path, ["00.png", "01.png", "01x2.png", "03x4.png", "zz.png"])
    write_png(lr / "00.png", noise(20, 21))
    with pytest.raises(ImageError) as caught:
        pairs_of(folder, lr_folder=str(lr))
    lines = str(caught.value).splitlines()[1:]

    assert sorted(lines) == sorted(
        f"  {line}"
        for line in (
            f"{lr}/00.png: is 21x20 pixels, expected 20x20, which is 00.png / 2",
            f"{folder}/01.png: has 2 LR images in {lr} (01.png, 01x2.png); keep one of them",
            f"{folder}/02.png: has no LR image in {lr}, expected 02.png or 02x2.png",
            f"{folder}/03.png: has no LR image in {lr}, expected 03.png or 03x2.png",
            f"{lr}/03x4.png: has no HR image in {folder}",
            f"{lr}/zz.png: has no HR image in {folder}",
        )
    )


@pytest.mark.parametrize("degradation", ["mixed", "second_order"])
def test_own_lr_images_are_of_one_degradation(tmp_path: Path, degradation: str) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 2)
    with pytest.raises(SourceError, match=rf"data\.lr_folder: .*which data\.degradation {degradation} is not"):
        pairs_of(folder, lr_folder=str(folder), degradation=degradation)


def test_a_folder_of_own_lr_images_that_cannot_be(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 2)
    for lr, reason in ((folder, "is data.folder too"), (tmp_path / "nowhere", "there is no folder")):
        with pytest.raises(SourceError, match=rf"data\.lr_folder: .*{reason}"):
            pairs_of(folder, lr_folder=str(lr))
    with pytest.raises(SourceError, match=r"data\.lr_folder: expected null, because .* DIV2K's layout"):
        pairs_of(div2k_layout(tmp_path / "layout"), lr_folder=str(folder))


def test_names_with_spaces_and_of_any_script_are_fine(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "my\nphotos", [(40, 40)] * 3)
    names = ["a b  c.png", "\u00e4\u4e2d\U0001f600.png", "'\"$(x);%[1].png"]
    for i, name in enumerate(names):
        (folder / f"{i:02}.png").replace(folder / name)
    build(params_for(tmp_path / "data", folder), progress=QUIET)
    pairs = pairs_of(folder)
    assert {pair.hr.name for split in pairs.values() for pair in split} == set(names)


def test_what_only_looks_like_an_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 3)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "dangling.png").symlink_to("/nowhere/at/all.png")
    (folder / "empty.png").write_bytes(b"")
    shutil.copy(folder / "01.png", folder / "line\nbreak.png")
    shutil.copy(folder / "01.png", os.fsencode(folder) + b"/\xff.png")
    shutil.copy(folder / "01.png", folder / f"{'n' * 201}.png")
    (folder / "link.png").symlink_to(folder / "00.png")  # this one is fine
    message = refusal(tmp_path / "data", folder)

    assert "8 images cannot be used" in message
    assert message.count("\n") == 8
    for line in (
        "folder.png: is not a file; take it out",
        "pipe.png: is not a file; take it out",
        "loop.png: is a link that leads nowhere; take it out",
        "dangling.png: is a link that leads nowhere; take it out",
        r"line\nbreak.png': its name holds control characters or is not UTF-8; rename it",
        r"\udcff.png': its name holds control characters or is not UTF-8; rename it",
        "n.png: its name is longer than 200 bytes; rename it",
        "empty.png: ",
    ):
        assert line in message


def truncated(path: Path) -> None:
    save(path, Image.fromarray(noise(40, 40)))
    path.write_bytes(path.read_bytes()[:-100])


def transparent(path: Path) -> None:
    save(path, Image.fromarray(np.dstack([noise(40, 40), noise(40, 40)[:, :, 0]])))


def grey16(path: Path) -> None:
    save(path, Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)))


def cmyk(path: Path) -> None:
    save(path.with_suffix(".jpg"), Image.fromarray(noise(40, 40)).convert("CMYK"))


def small(path: Path) -> None:
    write_png(path, noise(CROP * SCALE - 1, 40))


BAD = {
    "truncated": (truncated, "cannot be decoded"),
    "transparent": (transparent, "transparent pixels"),
    "grey16": (grey16, "more than 8 bits"),
    "rgb16": (sixteen_bit_rgb, "has 16 bits per channel"),
    "cmyk": (cmyk, "printing inks"),
    "small": (small, "is 40x15 pixels, smaller than a crop of 8 x 2 = 16"),
}


def refusal(root: Path, folder: Path) -> str:
    """What a build of `folder` says; it must leave nothing behind."""
    with pytest.raises(ImageError) as caught:
        build(params_for(root, folder), progress=QUIET)
    assert not root.exists()
    return str(caught.value)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named(tmp_path: Path, kind: str) -> None:
    make, reason = BAD[kind]
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 3)
    make(folder / f"{kind}.png")
    message = refusal(tmp_path / "data", folder)

    assert message.count("\n") == 1
    assert f"{kind}." in message
    assert reason in message


def test_all_bad_images_are_named_at_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(40, 40)] * 3)
    for kind, (make, _) in BAD.items():
        make(folder / f"{kind}.png")
    message = refusal(tmp_path / "data", folder)

    assert f"{len(BAD)} images cannot be used" in message
    assert message.count("\n") == len(BAD)
    assert all(reason in message for _, reason in BAD.values())


def test_lr_of_another_size_or_missing_is_named_in_both_splits(tmp_path: Path) -> None:
    raw = div2k_layout(tmp_path / "photos")
    write_png(raw / "DIV2K_train_LR_bicubic/X2/0001x2.png", noise(18, 21))
    (raw / "DIV2K_train_LR_bicubic/X2/0003x2.png").unlink()
    write_png(raw / "DIV2K_valid_LR_bicubic/X2/0801x2.png", noise(17, 20))
    message = refusal(tmp_path / "data", raw)

    assert "3 images cannot be used" in message
    assert "0001x2.png: is 21x18 pixels, expected 20x18, which is 0001.png / 2" in message
    assert "0003x2.png: missing; it is the x2 LR image of 0003.png" in message
    assert "0801x2.png: is 20x17 pixels" in message


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [(40, 40)] * 3)
    shutil.copy(folder / "01.png", folder / "01.PNG")

    with pytest.raises(SrError, match=r"01\.PNG: 2 images have this name"):
        pairs_of(folder)
