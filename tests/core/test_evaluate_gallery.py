"""Comparison pictures: where the crop is, and that what is shown is what was computed."""

import math

import numpy as np
import pytest

from sr_core.evaluate import gallery
from sr_core.evaluate.benchmark import Evaluated, ImageScore
from sr_core.upscale import Box

CROP_HEIGHT, CROP_WIDTH = gallery.HEIGHT // gallery.ZOOM, gallery.COLUMN // gallery.ZOOM


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def evaluated(height: int, width: int, **models: np.ndarray) -> Evaluated:
    results = {"bicubic": noise(height, width, 1), **models}
    scores = {
        model: ImageScore(model=model, image="cat", psnr=30.0 + i, ssim=0.9, seconds=0.1)
        for i, model in enumerate(results)
    }
    hr = noise(height, width, 2)
    return Evaluated(image="cat", hr=hr, results=results, scores=scores, lr=hr[::2, ::2])


def mean_difference(a: np.ndarray, b: np.ndarray, box: Box) -> float:
    return float(np.abs(a[box.slices()].astype(float) - b[box.slices()]).mean())


def test_the_crop_is_where_the_difference_is_largest() -> None:
    baseline, other = noise(60, 80), noise(60, 80, 3)
    found = gallery.choose_crop(baseline, [other], height=20, width=30)
    assert (found.bottom - found.top, found.right - found.left) == (20, 30)
    everywhere = [
        mean_difference(baseline, other, Box(top=top, left=left, bottom=top + 20, right=left + 30))
        for top in range(41)
        for left in range(51)
    ]
    assert mean_difference(baseline, other, found) == pytest.approx(max(everywhere))


def test_one_broken_pixel_does_not_decide() -> None:
    baseline = np.full((100, 100, 3), 100, np.uint8)
    other = baseline.copy()
    other[5, 5] = 255
    other[60:90, 60:90] += 10
    found = gallery.choose_crop(baseline, [other], height=30, width=30)
    assert found == Box(top=60, left=60, bottom=90, right=90)


def test_equal_images_and_images_smaller_than_the_crop() -> None:
    image = noise(50, 40)
    assert gallery.choose_crop(image, [image], height=20, width=20) == Box(top=0, left=0, bottom=20, right=20)
    assert gallery.choose_crop(image, [], height=80, width=30) == Box(top=0, left=0, bottom=50, right=30)


@pytest.mark.parametrize(("height", "width"), [(200, 300), (300, 200), (700, 40), (12, 600), (20, 16), (11, 11)])
def test_every_panel_shows_its_own_pixels(height: int, width: int) -> None:
    seen = evaluated(height, width, edsr=noise(height, width, 3))
    drawn = gallery.picture(seen, subtitle="x4")
    box = gallery.choose_crop(seen.results["bicubic"], [seen.results["edsr"]], height=CROP_HEIGHT, width=CROP_WIDTH)
    top = drawn.shape[0] - gallery.MARGIN - gallery.HEIGHT
    for i, image in enumerate((seen.results["bicubic"], seen.results["edsr"], seen.hr)):
        left = gallery.MARGIN + i * (gallery.COLUMN + gallery.GAP)
        crop = image[box.slices()].repeat(gallery.ZOOM, 0).repeat(gallery.ZOOM, 1)
        shown = drawn[top : top + crop.shape[0], left : left + crop.shape[1]]
        assert (shown[2:-2, 2:-2] == crop[2:-2, 2:-2]).all()  # but for its frame


def test_a_picture_is_always_the_same_and_takes_any_number_of_networks() -> None:
    seen = evaluated(90, 120, edsr=noise(90, 120, 3))
    first, second = (gallery.picture(seen, subtitle="x4") for _ in range(2))
    assert first.dtype == np.uint8
    assert (first == second).all()
    wider = gallery.picture(evaluated(90, 120, edsr=noise(90, 120, 3), wdsr=noise(90, 120, 4)), subtitle="x4")
    narrower = gallery.picture(evaluated(90, 120), subtitle="x4")
    assert wider.shape[1] - first.shape[1] == first.shape[1] - narrower.shape[1] == gallery.COLUMN + gallery.GAP


def test_text_never_leaves_its_place() -> None:
    """A name too long is cut, an infinite PSNR can be written: nothing is drawn in the margins."""
    seen = evaluated(90, 120, **{"a-network-with-a-very-long-name-" * 5: noise(90, 120, 3)})
    scores = {model: ImageScore(model=model, image="x", psnr=math.inf, ssim=1.0, seconds=0) for model in seen.results}
    long = Evaluated(image="W" * 500, hr=seen.hr, results=seen.results, scores=scores, lr=seen.lr)
    drawn = gallery.picture(long, subtitle="also long " * 30)
    assert (drawn[:, : gallery.MARGIN] == 255).all()
    assert (drawn[:, -gallery.MARGIN :] == 255).all()
    labels = drawn[gallery.MARGIN + gallery.HEADER :][: gallery.LABEL]
    for i in (1, 2):
        gap = gallery.MARGIN + i * (gallery.COLUMN + gallery.GAP)
        assert (labels[:, gap - gallery.GAP : gap] == 255).all()


def test_pictures_of_different_widths_are_stacked_on_white() -> None:
    stacked = gallery.stack([noise(5, 8), noise(3, 6)])
    assert stacked.shape == (8, 8, 3)
    assert (stacked[5:, 6:] == 255).all()
    assert (stacked[:5] == noise(5, 8)).all()
