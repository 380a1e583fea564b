from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from photos import noise

from sr_core.data.align import Shift, shift, shifted
from sr_core.data.images import read_rgb
from sr_core.data.kernels import blurred, gaussian, motion
from sr_core.data.resize import bicubic_down

ROOM = 10  # pixels around what is cut out


def scene(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Shapes and textures of all sizes, as a photograph has them."""
    total = np.zeros((height, width, 3))
    for step in (1, 2, 4, 8, 16, 32):
        small = noise(-(-height // step), -(-width // step), seed + step).astype(float) - 128
        total += step**0.5 * np.kron(small, np.ones((step, step, 1)))[:height, :width]
    return np.uint8((128 + total / 6).clip(0, 255))


def pair(image: NDArray[np.uint8], by: Shift) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two windows of `image`: the content of the first lies `by` further down and right than in the second."""
    height, width = image.shape[0] - 2 * ROOM, image.shape[1] - 2 * ROOM
    top, left = ROOM - by[0], ROOM - by[1]
    return (
        image[top : top + height, left : left + width],
        image[ROOM : ROOM + height, ROOM : ROOM + width],
    )


def noisy(image: NDArray[np.uint8], deviation: float) -> NDArray[np.uint8]:
    levels = np.random.default_rng(5).normal(0, deviation, image.shape)
    return np.uint8((image + levels).clip(0, 255))


@pytest.mark.parametrize("by", [(0, 0), (1, 0), (0, -1), (3, -2), (-8, 8), (8, 7)])
@pytest.mark.parametrize("size", [(64, 48), (83, 111), (340, 510), (600, 1100)])
def test_a_shift_is_found(size: tuple[int, int], by: Shift) -> None:
    lr, reference = pair(scene(size[0] + 2 * ROOM, size[1] + 2 * ROOM), by)

    assert shift(lr, reference) == by


@pytest.mark.parametrize("by", [(0, 0), (2, -5), (-6, 1)])
@pytest.mark.parametrize("deviation", [0, 15, 40])
def test_blur_and_noise_do_not_hide_it(by: Shift, deviation: float) -> None:
    lr, reference = pair(scene(180, 260), by)
    for kernel in (gaussian(13, 1.5, 2.5, 0.3), motion(13, 9.0, 1.2, 1.0)):
        assert shift(noisy(blurred(lr, kernel), deviation), reference) == by


def test_other_brightness_and_contrast_do_not_hide_it() -> None:
    lr, reference = pair(scene(120, 160), (4, 3))

    assert shift(lr // 3 + 90, reference) == (4, 3)


@pytest.mark.parametrize("by", [(0, 0), (5, -3), (-2, 6)])
def test_it_is_found_in_photographs(shared: Path, by: Shift) -> None:
    files = sorted((shared / "photos" / "bsds500_train").glob("*.jpg"))[::10]
    assert files
    for file in files:
        lr, reference = pair(bicubic_down(read_rgb(file), 4), by)

        assert shift(noisy(blurred(lr, motion(7, 4.0, 0.8, 0.5)), 10), reference) == by, file


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 8), (9, 13)])
def test_tiny_images_are_left_where_they_are_or_moved_a_little(size: tuple[int, int]) -> None:
    image = scene(*size)

    assert shift(image, image) == (0, 0)
    found = shift(image, noise(*size, seed=9))
    assert all(abs(by) <= side // 4 for by, side in zip(found, size, strict=True))


def test_the_limit_holds() -> None:
    lr, reference = pair(scene(100, 120), (6, 2))

    assert shift(lr, reference, limit=6) == (6, 2)
    assert max(map(abs, shift(lr, reference, limit=5))) <= 5
    assert shift(lr, reference, limit=0) == (0, 0)


def test_of_a_small_image_a_quarter_is_the_limit() -> None:
    lr, reference = pair(scene(24 + 2 * ROOM, 40 + 2 * ROOM), (7, 8))

    assert abs(shift(lr, reference)[0]) <= 6
    assert shift(*pair(scene(24 + 2 * ROOM, 40 + 2 * ROOM), (6, 8))) == (6, 8)


def test_of_a_large_image_the_middle_is_compared() -> None:
    image = np.full((1100, 1300, 3), 90, np.uint8)
    image[500:600, 550:700] = scene(100, 150)

    assert shift(*pair(image, (-3, 5))) == (-3, 5)


OTHERS = {
    "black": np.zeros((60, 80, 3), np.uint8),
    "white": np.full((60, 80, 3), 255, np.uint8),
    "noise": noise(60, 80),
}


@pytest.mark.parametrize("name", OTHERS)
def test_where_nothing_can_be_told_nothing_is_shifted(name: str) -> None:
    assert shift(OTHERS[name], scene(60, 80)) == (0, 0)
    assert shift(scene(60, 80), OTHERS[name]) == (0, 0)


def test_stripes_that_fit_in_many_places_stay() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255

    assert shift(stripes, stripes) == (0, 0)


@pytest.mark.parametrize("by", [(0, 0), (3, -2), (-1, 4)])
def test_undoing_a_shift_brings_the_content_back(by: Shift) -> None:
    lr, reference = pair(scene(60, 72), by)
    back = shifted(lr, by)

    assert back.shape == lr.shape
    assert back.flags.c_contiguous
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_array_equal(back[inner], reference[inner])
    assert shift(back, reference) == (0, 0)


def test_the_edge_is_repeated_where_there_is_nothing_to_show() -> None:
    image = noise(5, 7)

    np.testing.assert_array_equal(shifted(image, (2, 0))[2:], np.concatenate([image[4:], image[4:], image[4:]]))
    np.testing.assert_array_equal(shifted(image, (0, -3))[:, :4], np.repeat(image[:, :1], 4, axis=1))
    np.testing.assert_array_equal(shifted(image, (99, -99)), np.broadcast_to(image[4, 0], image.shape))
