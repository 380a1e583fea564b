import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from photos import noise

from sr_core.data import kernels
from sr_core.data.kernels import Kernel, blurred, decimated, gaussian, generalized_gaussian, motion, plateau, sinc

SHAPES = {
    "gaussian": lambda size: gaussian(size, 1.5, 4.0, 0.7),
    "narrow": lambda size: gaussian(size, 0.1, 0.1, 0.0),
    "generalized": lambda size: generalized_gaussian(size, 2.0, 3.0, 2.5, 0.5),
    "flat": lambda size: generalized_gaussian(size, 2.0, 3.0, 2.5, 400.0),
    "plateau": lambda size: plateau(size, 2.0, 1.0, 0.3, 1.5),
    "motion": lambda size: motion(size, 9.0, 1.1, 1.15),
    "sinc": lambda size: sinc(size, 1.3),
}


def spread(kernel: Kernel) -> NDArray[np.float64]:
    """The 2 x 2 covariance of x and y under `kernel`."""
    place = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    y, x = np.meshgrid(place, place, indexing="ij")
    return np.array([[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)])


def one_by_one(image: NDArray[np.uint8], kernel: Kernel, scale: int) -> NDArray[np.uint8]:
    """The sums over taps in whole numbers, for every `scale`-th pixel."""
    size = len(kernel)
    beyond = size + scale
    wide = np.pad(image.astype(np.int64), ((beyond, beyond), (beyond, beyond), (0, 0)), mode="symmetric")
    height, width = (side // scale * scale for side in image.shape[:2])
    first = beyond + (scale - size) // 2
    total = np.zeros((height // scale, width // scale, 3), np.int64)
    for (i, j), weight in np.ndenumerate(kernels._whole(kernel).astype(np.int64)):
        total += weight * wide[first + i :, first + j :][:height:scale, :width:scale]
    return ((total + 2**15) >> 16).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [3, 4, 7, 21, 22, 63])
@pytest.mark.parametrize("name", SHAPES)
def test_a_kernel_adds_up_to_one_and_is_centred(name: str, size: int) -> None:
    kernel = SHAPES[name](size)

    assert kernel.shape == (size, size)
    assert kernel.dtype == np.float64
    assert abs(kernel.sum() - 1) < 1e-12
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])


@pytest.mark.parametrize("size", [3, 4, 21, 22, 63])
@pytest.mark.parametrize("name", SHAPES)
def test_whole_weights_add_up_and_stay_centred(name: str, size: int) -> None:
    kernel = SHAPES[name](size)
    whole = kernels._whole(kernel)

    assert whole.sum() == 65536
    np.testing.assert_array_equal(whole, np.rint(whole))
    np.testing.assert_array_equal(whole, whole[::-1, ::-1])
    middle = np.zeros_like(whole, dtype=bool)
    middle[(size - 1) // 2 : size // 2 + 1, (size - 1) // 2 : size // 2 + 1] = True
    assert abs(whole / 65536 - kernel)[~middle].max() <= 0.5 / 65536


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2, 2.8])
def test_a_gaussian_has_its_deviations_along_its_axes(angle: float) -> None:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    np.testing.assert_allclose(spread(gaussian(63, 5.0, 2.0, angle)), turn @ np.diag([25, 4]) @ turn.T, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2, 2.8])
def test_motion_is_as_long_as_it_says(angle: float) -> None:
    """A line of length l has the variance l² / 12, to which the width adds its own."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    expected = turn @ np.diag([15**2 / 12 + 1.5**2, 1.5**2]) @ turn.T

    np.testing.assert_allclose(spread(motion(63, 15.0, angle, 1.5)), expected, atol=1e-6)


def test_shapes_are_gaussians_for_the_parameters_that_make_them_so() -> None:
    np.testing.assert_allclose(generalized_gaussian(21, 2, 3, 0.4, 1.0), gaussian(21, 2, 3, 0.4), atol=1e-15)
    assert generalized_gaussian(21, 3, 3, 0, 4.0)[10, 12] > 0.9 * generalized_gaussian(21, 3, 3, 0, 4.0).max()
    # at one deviation from the middle a plateau has fallen to a half
    assert plateau(21, 3, 3, 0, 2.0)[10, 13] == pytest.approx(plateau(21, 3, 3, 0, 2.0).max() / 2)


def test_sinc_lets_low_frequencies_pass_and_no_high_ones() -> None:
    response = abs(np.fft.fft2(sinc(63, math.pi / 2), (128, 128)))
    frequency = 2 * np.pi * np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))

    assert abs(response[frequency < 0.4 * math.pi] - 1).max() < 0.1
    assert response[frequency > 0.6 * math.pi].max() < 0.05


def test_bessels_function_is_that_of_the_tables() -> None:
    """J1's first two zeros, and values at 1 and, where the largest kernels end, at 100."""
    x = np.array([0, 3.8317059702075, 7.0155866698156, 1, 100])

    assert kernels._bessel_j1(x) == pytest.approx([0, 0, 0, 0.4400505857449, -0.0771453520141], abs=1e-11)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (108, 109), (130, 250)])
@pytest.mark.parametrize("size", [3, 7, 21, 63])
@pytest.mark.parametrize("name", ["gaussian", "sinc"])
def test_blurring_is_the_sum_over_taps_to_the_last_bit(name: str, size: int, shape: tuple[int, int]) -> None:
    image = noise(*shape)

    np.testing.assert_array_equal(
        blurred(image, SHAPES[name](size)), one_by_one(image, SHAPES[name](size), 1), strict=True
    )


@pytest.mark.parametrize("blocks", [(1, 1), (2, 3), (7, 5), (41, 70)])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_decimation_is_the_sum_over_taps_to_the_last_bit(scale: int, blocks: tuple[int, int]) -> None:
    image = noise(blocks[0] * scale, blocks[1] * scale)
    for size in (3, 21, 63):
        kernel = gaussian(size + (size + scale) % 2, 2.0, 5.0, 0.4)

        np.testing.assert_array_equal(decimated(image, kernel, scale), one_by_one(image, kernel, scale), strict=True)


def test_both_algorithms_give_the_same_pixels() -> None:
    image = noise(300, 420)
    kernel = motion(21, 12.0, 0.5, 1.0)

    np.testing.assert_array_equal(decimated(image, kernel, 3), blurred(image, kernel)[1::3, 1::3])


@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_a_flat_image_stays_as_it_is(level: int) -> None:
    """To its very edges, whatever the kernel."""
    image = np.full((40, 56, 3), level, np.uint8)
    for make in SHAPES.values():
        assert (blurred(image, make(21)) == level).all()
        if make is not SHAPES["sinc"]:
            assert (decimated(image, make(22), 4) == level).all()


def test_channels_do_not_mix() -> None:
    image = noise(40, 56)
    alone = np.zeros_like(image)
    alone[:, :, 1] = image[:, :, 1]
    found, expected = (blurred(one, SHAPES["gaussian"](7)) for one in (alone, image))

    np.testing.assert_array_equal(found[:, :, 1], expected[:, :, 1])
    assert not found[:, :, ::2].any()


def test_the_number_of_threads_changes_nothing() -> None:
    code = (
        "import hashlib, numpy as np; from sr_core.data import kernels as k\n"
        "image = np.random.Philox(1).random_raw(720 * 4096 * 3 // 8).view(np.uint8).reshape(720, 4096, 3)\n"
        "out = k.decimated(image, k.gaussian(22, 2, 3, 0.4), 4), k.blurred(image[:200, :300], k.sinc(21, 1.0))\n"
        "print([hashlib.sha256(one.tobytes()).hexdigest()[:16] for one in out])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "3")
    }

    assert found == {"['d6d16d9d6ea8571d', 'e1de189624b26b8f']\n"}  # integers throughout: the same on any machine
