"""Every image that cannot be used is named, in one error, before anything is written."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import CROP, SCALE, noise, params_for, save, sixteen_bit_rgb, write_folder
from PIL import Image

from sr_core.data.degrade import lr_of
from sr_core.data.images import write_png
from sr_core.data.pairs import ImagePair, Split, find_all_pairs
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
    assert all(f"{t}: {raw}/DIV2K_{s}_LR_{t} does not exist" in message for t in mixed for s in ("train", "valid"))


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
