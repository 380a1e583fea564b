"""MATLAB's own bicubic images, every pixel of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_core.data import resize
from sr_core.data.images import read_rgb
from sr_core.data.resize import bicubic_down, crop_to_multiple, resize_matrix


def div2k_0004(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    folder = shared / "div2k_mini"
    return read_rgb(folder / "DIV2K_train_HR/0004.png"), read_rgb(folder / "DIV2K_train_LR_bicubic/X2/0004x2.png")


def test_div2k_official_lr_is_reproduced(shared: Path) -> None:
    hr, lr = div2k_0004(shared)

    np.testing.assert_array_equal(bicubic_down(hr, 2), lr)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("number", range(1, 6))
def test_set5_lr_is_reproduced_with_the_clamp_border(shared: Path, scale: int, number: int) -> None:
    stem = f"testsets/Set5/image_SRF_{scale}/img_{number:03}_SRF_{scale}"
    hr, lr = read_rgb(shared / f"{stem}_HR.png"), read_rgb(shared / f"{stem}_LR.png")

    np.testing.assert_array_equal(bicubic_down(hr, scale, border="clamp"), lr)


def test_the_borders_differ_at_the_border_only(shared: Path) -> None:
    hr = read_rgb(shared / "testsets/Set5/image_SRF_4/img_001_SRF_4_HR.png")
    mirror, clamp = bicubic_down(hr, 4), bicubic_down(hr, 4, border="clamp")

    assert (mirror != clamp).any()
    np.testing.assert_array_equal(mirror[2:-2, 2:-2], clamp[2:-2, 2:-2])


def test_pillows_bicubic_is_another_filter(shared: Path) -> None:
    hr, lr = div2k_0004(shared)
    pillow = np.asarray(Image.fromarray(hr).resize((lr.shape[1], lr.shape[0]), Image.Resampling.BICUBIC))

    assert 0.75 < (pillow == lr).mean() < 0.9


@pytest.mark.parametrize("border", ["mirror", "clamp"])
@pytest.mark.parametrize(("length", "out"), [(48, 12), (48, 16), (48, 24), (12, 48), (16, 48), (48, 48), (8, 1)])
def test_matrix_weights_sum_to_one_and_keep_a_ramp(length: int, out: int, border: str) -> None:
    matrix = resize_matrix(length, out, border=border)

    assert matrix.shape == (out, length)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    # a cubic keeps straight lines: output i lies at this place of the input
    places = (np.arange(out) + 0.5) * length / out - 0.5
    reach = 2 * max(1, length / out)
    inside = (places >= reach) & (places <= length - 1 - reach)
    np.testing.assert_allclose((matrix @ np.arange(length))[inside], places[inside], atol=1e-9)


def test_matrix_of_one_size_is_the_identity() -> None:
    np.testing.assert_allclose(resize_matrix(9, 9), np.eye(9), atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_rounding_after_each_pass_and_clipping(scale: int) -> None:
    """The strips of taps against the plain definition; noise overshoots 0 and 255."""
    image = np.random.default_rng(scale).choice(np.array([0, 255], np.uint8), (5 * scale, 7 * scale, 3))
    rows, columns = resize_matrix(5 * scale, 5), resize_matrix(7 * scale, 7)
    narrow = np.floor(np.einsum("oh,hwc->owc", rows, image) + 0.5).clip(0, 255)
    expected = np.floor(np.einsum("pw,owc->opc", columns, narrow) + 0.5).clip(0, 255)

    np.testing.assert_array_equal(bicubic_down(image, scale), expected)


@pytest.mark.parametrize(("scale", "fits"), [(2, True), (3, False), (4, True), (8, False)])
def test_float32_is_used_where_its_sums_are_exact(scale: int, fits: bool) -> None:
    """Not for x8, whose weights are multiples of 2^-16: a sum above 256 would be rounded."""
    for length in (3, 7, 339, 510):
        _, weights = resize._contributions(length * scale, length, "mirror")
        assert resize._fit_float32(weights) is fits


def test_what_the_scale_does_not_divide_is_cropped_from_the_end() -> None:
    image = np.random.default_rng(0).integers(0, 256, (14, 19, 3), dtype=np.uint8)

    np.testing.assert_array_equal(crop_to_multiple(image, 4), image[:12, :16])
    np.testing.assert_array_equal(bicubic_down(image, 4), bicubic_down(image[:12, :16], 4))
