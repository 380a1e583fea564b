"""Folders of test images beside the plain layouts: Urban100's half-size trap, DIV2K's tracks, wrong files."""

import re
import shutil

import numpy as np
import pytest
from photos import noise

from sr_core.data.images import write_png
from sr_core.data.resize import bicubic_down
from sr_core.errors import ConfigError, ImageError, SourceError
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.testsets import known, open_testset
from sr_core.params import DataParams

KEYS = ("img_001", "img_002")


def hr_of(number, scale=4):
    image = noise(4 * 25, 4 * 31, seed=number)
    return image[: len(image) // scale * scale, : image.shape[1] // scale * scale]


def srf(root, scale, make_hr):
    for number, key in enumerate(KEYS):
        hr = make_hr(number)
        write_png(root / f"image_SRF_{scale}" / f"{key}_SRF_{scale}_HR.png", hr)
        write_png(root / f"image_SRF_{scale}" / f"{key}_SRF_{scale}_LR.png", bicubic_down(hr, scale, border="clamp"))


@pytest.fixture
def urban(tmp_path):
    """The usual package: SRF_4 is whole, SRF_2 half as large."""
    root = tmp_path / "Urban"
    srf(root, 4, hr_of)
    srf(root, 2, lambda number: bicubic_down(hr_of(number), 2)[:48, :60])
    return root


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("below", [".", "image_SRF_2", "image_SRF_4"])
def test_half_size_images_are_not_taken_where_the_whole_ones_are_beside(urban, scale, below):
    found = open_testset(urban / below, scale)
    assert (found.name, found.keys) == ("Urban", KEYS)
    assert found.lr_source == "made here of the HR images for x4: bicubic, border clamp"
    for i in range(2):
        np.testing.assert_array_equal(found.hr(i), hr_of(i, scale))
        np.testing.assert_array_equal(found.lr(i), bicubic_down(hr_of(i, scale), scale, border="clamp"))


def test_what_is_no_half_is_taken_as_it_is(tmp_path):
    for scale in (2, 3, 4):
        srf(tmp_path, scale, lambda number, scale=scale: hr_of(number, scale))
    for scale in (2, 3, 4):
        found = open_testset(tmp_path, scale)
        assert found.lr_source == "files"
        assert found.hr(0).shape == hr_of(0, scale).shape


def test_the_whole_images_are_needed(urban):
    shutil.rmtree(urban / "image_SRF_4")
    assert open_testset(urban, 2).lr_source == "files"  # nothing tells that these are halves; bicubic's PSNR will
    with pytest.raises(SourceError, match="holds images for x2, the model is for x3"):
        open_testset(urban, 3)


def div2k(root, *tracks):
    for key in ("0801", "0802"):
        hr = noise(96, 104, seed=int(key))
        write_png(root / "DIV2K_valid_HR" / f"{key}.png", hr)
        for folder, name in tracks:
            write_png(root / f"DIV2K_valid_LR_{folder}" / name.format(key=key), 255 - bicubic_down(hr, 4))


TRACKS = {
    "bicubic": ("bicubic/X4", "{key}x4.png"),
    "unknown": ("unknown/X4", "{key}x4.png"),
    "mild": ("mild", "{key}x4m.png"),
    "difficult": ("difficult", "{key}x4d.png"),
    "wild": ("wild", "{key}x4w.png"),
}


@pytest.mark.parametrize("below", [".", "DIV2K_valid_HR"])
@pytest.mark.parametrize("track", TRACKS)
def test_every_track_of_div2k_is_found(tmp_path, track, below):
    div2k(tmp_path, *TRACKS.values())
    found = open_testset(tmp_path / below, 4, degradation=track)
    assert (found.name, found.degradation) == ("DIV2K validation, 2 of 100 images", track)
    assert found.protocol is PROTOCOLS["div2k-rgb"]
    assert found.lr_source == "files"
    np.testing.assert_array_equal(found.lr(0), 255 - bicubic_down(found.hr(0), 4))


def test_x8_and_a_digit_behind_wild(tmp_path):
    div2k(tmp_path, ("wild", "{key}x4w3.png"))
    assert len(open_testset(tmp_path, 4, degradation="wild")) == 2
    for key in ("0801", "0802"):
        hr = noise(96, 104, seed=int(key))
        write_png(tmp_path / "DIV2K_valid_LR_x8" / f"{key}x8.png", bicubic_down(hr, 8))
    found = open_testset(tmp_path, 8)
    assert found.lr_source == "files"
    np.testing.assert_array_equal(found.lr(1), bicubic_down(found.hr(1), 8))


def test_bicubic_of_div2k_is_made_with_the_mirrored_border(tmp_path):
    div2k(tmp_path)
    found = open_testset(tmp_path, 4)
    assert found.lr_source == "made here: bicubic, border mirror"
    np.testing.assert_array_equal(found.lr(0), bicubic_down(found.hr(0), 4, border="mirror"))
    other = open_testset(tmp_path, 4, protocol=PROTOCOLS["benchmark-y"])
    assert (other.lr(0) != found.lr(0)).any()
    assert other.digest != found.digest


@pytest.mark.parametrize("track", ["unknown", "mild", "wild"])
def test_a_track_that_is_not_there_is_one_sentence(tmp_path, track):
    div2k(tmp_path, TRACKS["bicubic"])
    with pytest.raises(SourceError, match=f"has no LR images of {track}, and they cannot be made here"):
        open_testset(tmp_path, 4, degradation=track)
    with pytest.raises(ConfigError, match="degradation: is 'bicubik', expected bicubic, "):
        open_testset(tmp_path, 4, degradation="bicubik")


@pytest.mark.parametrize("track", ["unknown", "second_order"])
def test_other_photographs_are_degraded_here(tmp_path, track):
    write_png(tmp_path / "a.png", noise(96, 96))
    one, again = (open_testset(tmp_path, 4, degradation=track) for _ in range(2))
    other = open_testset(tmp_path, 4, degradation=track, data=DataParams(degradation_seed=1))
    np.testing.assert_array_equal(one.lr(0), again.lr(0))
    assert (one.lr(0) != other.lr(0)).any()
    assert (one.lr(0) != open_testset(tmp_path, 4).lr(0)).any()
    assert one.digest == again.digest != other.digest
    assert one.lr_source == f"made here: {track}, seed 0"


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("Set5", 5, "Set5"),
        ("set_5", 5, "Set5"),
        ("B100", 100, "BSD100"),
        ("Set5", 3, "Set5, 3 of 5 images"),
        ("mine", 3, "mine"),
    ],
)
def test_the_name_of_a_set_is_that_of_its_images(name, keys, expected):
    assert known(name, [f"img_{i}" for i in range(keys)]) == expected
    assert known("raw", [f"{i:04}" for i in range(801, 901)]) == "DIV2K validation"


def test_all_offenders_are_listed_at_once(tmp_path):
    hr, lr = tmp_path / "HR", tmp_path / "LR_bicubic" / "X2"
    for name, size in (("good", 40), ("alone", 40), ("small", 14), ("odd", 40), ("torn", 40), ("twice", 40)):
        write_png(hr / f"{name}.png", noise(size, size))
        write_png(lr / f"{name}x2.png", noise(size // 2, size // 2))
    (lr / "alonex2.png").unlink()
    write_png(lr / "spare.png", noise(20, 20))
    write_png(lr / "oddx2.png", noise(19, 20))
    (hr / "torn.png").write_bytes((hr / "torn.png").read_bytes()[:60])
    write_png(hr / "twice.bmp", noise(40, 40))
    with pytest.raises(ImageError, match="6 test images are wrong") as caught:
        open_testset(tmp_path, 2, otherwise="benchmark-y")
    for line in (
        "spare.png: has no HR image",
        "twice.png: there is another image of this name|twice.bmp: there is another image of this name",
        "alone.png: has no LR image for x2",
        "small.png: is 14x14, benchmark-y at x2 needs 15 pixels a side",
        "odd.png: is 40x40, its LR image 20x19, expected 20x20",
        "torn.png: cannot be decoded",
    ):
        assert re.search(line, str(caught.value)), line
    assert "good" not in str(caught.value)


def test_images_of_two_scales_in_one_folder_are_told_apart(tmp_path):
    srf(tmp_path, 2, lambda number: hr_of(number, 2))
    for path in (tmp_path / "image_SRF_2").glob("img_002*"):
        path.rename(
            path.with_name(path.name.replace("SRF_2", "SRF_3")).parent.parent / path.name.replace("SRF_2", "SRF_3")
        )
    with pytest.raises(ImageError, match="img_002: is there for x3 and not for x2"):
        open_testset(tmp_path, 2)
