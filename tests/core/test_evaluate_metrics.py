"""What PSNR, SSIM and the protocols promise, on images made here."""

import math

import numpy as np
import pytest

from sr_core.errors import ImageError
from sr_core.evaluate.metrics import PROTOCOLS, luma, psnr, ssim

Y, DIV2K, WHOLE = (PROTOCOLS[name] for name in ("benchmark-y", "div2k-rgb", "whole-rgb"))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_an_image_against_itself(protocol) -> None:
    image = noise(40, 50)
    assert psnr(image, image, protocol=protocol, scale=2) == math.inf
    assert ssim(image, image, protocol=protocol, scale=2) == 1.0


def test_psnr_of_a_known_error() -> None:
    hr = np.full((16, 16, 3), 100, np.uint8)
    assert psnr(hr + np.uint8(5), hr, protocol=WHOLE, scale=4) == pytest.approx(10 * math.log10(255**2 / 25))
    # 5 grey levels are 5 * 219/255 in Y
    assert psnr(hr + np.uint8(5), hr, protocol=Y, scale=4) == pytest.approx(
        10 * math.log10(255**2 / (5 * 219 / 255) ** 2)
    )


def test_rgb_averages_the_squared_error_and_not_the_decibels() -> None:
    hr = np.full((16, 16, 3), 100, np.uint8)
    sr = hr.copy()
    sr[..., 0] += 6  # only red is wrong: the mean square is 36 / 3
    assert psnr(sr, hr, protocol=WHOLE, scale=4) == pytest.approx(10 * math.log10(255**2 / 12))


def test_metrics_do_not_wrap_around_as_uint8_would() -> None:
    dark, light = np.zeros((12, 12, 3), np.uint8), np.full((12, 12, 3), 255, np.uint8)
    assert psnr(dark, light, protocol=WHOLE, scale=4) == pytest.approx(0.0, abs=1e-12)


def test_luma_is_not_rounded_and_has_matlabs_range() -> None:
    assert luma(np.zeros((1, 1, 3), np.uint8))[0, 0] == pytest.approx(16.0)
    assert luma(np.full((1, 1, 3), 255, np.uint8))[0, 0] == pytest.approx(235.0)
    assert luma(np.array([[[1, 2, 3]]], np.uint8))[0, 0] == pytest.approx(16 + (65.481 + 257.106 + 74.898) / 255)


@pytest.mark.parametrize(("protocol", "shave"), [(Y, 3), (DIV2K, 9), (WHOLE, 0)], ids=["y", "div2k", "whole"])
def test_the_shaved_border_does_not_count_and_the_next_pixel_does(protocol, shave: int) -> None:
    assert protocol.shave_of(3) == shave
    hr = noise(40, 41)
    border = hr.copy()
    border[:shave], border[:, :shave] = 255 - hr[:shave], 255 - hr[:, :shave]
    border[40 - shave :], border[:, 41 - shave :] = 255 - hr[40 - shave :], 255 - hr[:, 41 - shave :]
    assert psnr(border, hr, protocol=protocol, scale=3) == math.inf
    for row, column in [(shave, 20), (39 - shave, 20), (20, shave), (20, 40 - shave)]:
        inner = hr.copy()
        inner[row, column] = 255 - inner[row, column]
        assert psnr(inner, hr, protocol=protocol, scale=3) < math.inf
        assert ssim(inner, hr, protocol=protocol, scale=3) < 1.0


def test_ssim_is_symmetric_and_falls_with_noise() -> None:
    hr = np.tile(np.linspace(0, 255, 48).astype(np.uint8)[:, None, None], (1, 48, 3))
    weak = np.clip(hr.astype(int) + noise(48, 48) // 32, 0, 255).astype(np.uint8)
    strong = np.clip(hr.astype(int) + noise(48, 48) // 4, 0, 255).astype(np.uint8)
    values = [ssim(image, hr, protocol=Y, scale=4) for image in (hr, weak, strong)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 3
    assert ssim(hr, strong, protocol=Y, scale=4) == pytest.approx(values[2], abs=1e-12)


def test_ssim_of_one_window_is_the_formula() -> None:
    a, b = noise(11, 11, 1), noise(11, 11, 2)
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    expected = []
    for c in range(3):
        x, y = a[..., c].astype(float), b[..., c].astype(float)
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
        cov = (window * (x - mean_x) * (y - mean_y)).sum()
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        expected.append(
            (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * (2 * cov + c2) / (var_x + var_y + c2)
        )
    assert ssim(a, b, protocol=WHOLE, scale=2) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_wrong_input_is_one_clear_sentence(metric) -> None:
    hr = noise(40, 50)
    with pytest.raises(ImageError, match=r"SR image is 50x39 and the HR image 50x40, expected equal sizes"):
        metric(hr[:39], hr, protocol=Y, scale=4)
    with pytest.raises(ImageError, match=r"HR image is float64 of shape \(40, 50, 3\), expected uint8"):
        metric(hr, hr / 255.0, protocol=Y, scale=4)
    with pytest.raises(ImageError, match=r"SR image is uint8 of shape \(40, 50\)"):
        metric(hr[..., 0], hr[..., 0], protocol=Y, scale=4)
    with pytest.raises(ImageError, match=r"with 20 shaved on each"):
        metric(hr, hr, protocol=Y, scale=20)


def test_ssim_needs_one_whole_window() -> None:
    image = noise(10, 40)
    assert psnr(image, image, protocol=WHOLE, scale=4) == math.inf
    with pytest.raises(ImageError, match="at least 11 pixels a side"):
        ssim(image, image, protocol=WHOLE, scale=4)


def test_a_protocol_describes_itself() -> None:
    assert Y.describe(4) == "benchmark-y (Y, 4 pixels shaved)"
    assert DIV2K.describe(2) == "div2k-rgb (RGB, 8 pixels shaved)"
    assert WHOLE.describe(4) == "whole-rgb (RGB, whole image)"
