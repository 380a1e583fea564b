import dataclasses
import hashlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from photos import noise

from sr_core.data import synthetic
from sr_core.data.align import shift
from sr_core.data.images import read_rgb, through_jpeg
from sr_core.data.kernels import blurred, gaussian
from sr_core.data.resize import bicubic_down
from sr_core.data.synthetic import Random, random_for, recipe, second_order, unknown, unknown_kernel
from sr_core.degradation_params import SecondOrderParams, StageParams, UnknownParams
from sr_core.params import DataParams

Image = NDArray[np.uint8]
MAKERS: dict[str, Callable[..., Image]] = {"unknown": unknown, "second_order": second_order}
RANGES: dict[str, Any] = {"unknown": UnknownParams(), "second_order": SecondOrderParams()}
# a stage that does nothing but JPEG of the best quality
STILL = StageParams(
    blur_probability=0.0,
    resize_up_probability=0.0,
    resize_down_probability=0.0,
    gaussian_noise_probability=1.0,
    gaussian_noise=(0.0, 0.0),
    jpeg_quality=(100.0, 100.0),
)


def made(track: str, hr: Image, *, scale: int = 4, seed: int = 0, key: str = "a", variant: int = 0) -> Image:
    return MAKERS[track](hr, scale, RANGES[track], random_for(seed, key, track, variant))


def smooth(height: int, width: int, seed: int = 0) -> Image:
    """Clouds of colour."""
    return blurred(
        np.kron(noise(-(-height // 12), -(-width // 12), seed), np.ones((12, 12, 1), np.uint8)), gaussian(21, 5, 5, 0)
    )[:height, :width]


def staged(**first: Any) -> SecondOrderParams:
    """One stage, the first, with nothing but what is asked for."""
    return SecondOrderParams(first=dataclasses.replace(STILL, **first), second=STILL, final_sinc_probability=0.0)


def psnr(one: Image, other: Image) -> float:
    return -10 * math.log10(np.mean((one.astype(float) - other) ** 2) / 255**2)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (97, 203), (300, 11)])
@pytest.mark.parametrize("track", MAKERS)
def test_lr_is_as_large_as_bicubics(track: str, size: tuple[int, int], scale: int) -> None:
    hr = noise(*size)
    for variant in range(4):
        lr = made(track, hr, scale=scale, variant=variant)

        assert lr.shape == bicubic_down(hr, scale).shape
        assert lr.dtype == np.uint8


@pytest.mark.parametrize("track", MAKERS)
def test_pixels_depend_on_seed_key_track_and_variant_alone(track: str) -> None:
    hr = smooth(120, 200)
    asked = [{}, {"seed": 1}, {"key": "b"}, {"variant": 1}, {"key": "a", "variant": 11}, {"key": "a1", "variant": 1}]
    forward = [made(track, hr, **which) for which in asked]
    backward = [made(track, hr.copy(), **which) for which in reversed(asked)][::-1]

    for one, again in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, again)
    assert len({one.tobytes() for one in forward}) == len(asked)


def test_tracks_have_draws_of_their_own() -> None:
    draws = {random_for(0, "a", track, 0).uniform((0, 1)) for track in MAKERS}

    assert len(draws) == 2


@pytest.mark.parametrize("key", ["", "名前", "a\nb", "\udcff", "x" * 5000])
def test_any_name_is_a_key(key: str) -> None:
    assert 0 <= random_for(2**63 - 1, key, "unknown", 0).uniform((0, 1)) < 1


def test_another_process_on_an_older_processor_makes_the_same_bytes() -> None:
    """Unknown's are the same for ever; second_order's JPEG is Pillow's, and may change with it."""
    code = (
        "import hashlib, numpy as np\n"
        "from sr_core import degradation_params as p\n"
        "from sr_core.data import synthetic as s\n"
        "hr = np.random.Philox(1).random_raw(240 * 320 * 3 // 8).view(np.uint8).reshape(240, 320, 3)\n"
        "for track, ranges in (('unknown', p.UnknownParams()), ('second_order', p.SecondOrderParams())):\n"
        "    lr = [getattr(s, track)(hr, 4, ranges, s.random_for(3, 'a', track, i)) for i in range(6)]\n"
        "    print(hashlib.sha256(b''.join(one.tobytes() for one in lr)).hexdigest()[:16])"
    )
    older = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V4,X86_V3"}
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads} | others,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for threads, others in (("1", {}), ("3", {}), ("1", older))
    ]

    assert found[0] == found[1] == found[2]
    assert found[0][0] == "8ccd4f2199f2a7c7"


def test_a_recipe_changes_with_what_changes_pixels_and_with_nothing_else() -> None:
    params = DataParams()
    ranges = {
        "unknown": dataclasses.replace(params, unknown=UnknownParams(motion_probability=0.5)),
        "second_order": dataclasses.replace(params, second_order=SecondOrderParams(final_sinc_probability=0.5)),
    }
    for track in MAKERS:
        first = recipe(track, params)

        assert recipe(track, dataclasses.replace(params, num_writers=7, root="elsewhere")) == first
        assert recipe(track, params, 1) != first
        assert recipe(track, dataclasses.replace(params, degradation_seed=1)) != first
        for other, changed in ranges.items():
            assert (recipe(track, changed) != first) == (track == other)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_unknown_lies_where_bicubic_does(scale: int) -> None:
    """The middle of a round spot is at the same place in both, to a fiftieth of an LR pixel."""
    side = 40 * scale
    place = np.arange(side) - 17.3 * scale
    spot = np.exp(-0.5 * (place[:, None] ** 2 + (place[None, :] - 2 * scale) ** 2) / (3.0 * scale) ** 2)
    hr = np.repeat(np.rint(255 * spot)[:, :, None], 3, axis=2).astype(np.uint8)

    def middle(lr: Image) -> NDArray[np.float64]:
        light = lr[:, :, 0].astype(float)
        return np.array([(light.sum(axis=axis) * np.arange(40)).sum() for axis in (1, 0)]) / light.sum()

    expected = middle(bicubic_down(hr, scale))
    for variant in range(12):
        np.testing.assert_allclose(middle(made("unknown", hr, scale=scale, variant=variant)), expected, atol=0.02)


@pytest.mark.parametrize("track", MAKERS)
def test_photographs_keep_their_place_and_colours(shared: Path, track: str) -> None:
    files = sorted((shared / "photos" / "bsds500_train").glob("*.jpg"))[::40]
    assert files
    for file in files:
        hr = read_rgb(file)
        bicubic = bicubic_down(hr, 4)
        for variant in range(4):
            lr = made(track, hr, key=file.stem, variant=variant)

            assert shift(lr, bicubic) == (0, 0), (file, variant)
            assert abs(lr.mean(axis=(0, 1)) - bicubic.mean(axis=(0, 1))).max() < (1 if track == "unknown" else 8)
            border = np.ones(lr.shape[:2], bool)
            border[2:-2, 2:-2] = False
            gap = lr.astype(float) - bicubic
            assert abs(gap[border].mean()) < abs(gap.mean()) + 6, (file, variant)


def test_kernels_are_drawn_from_the_ranges() -> None:
    ranges = UnknownParams(gaussian_sigma=(1.0, 2.0), motion_probability=0.25, motion_length=(6.0, 12.0))
    drawn = [unknown_kernel(3, ranges, random_for(0, str(i), "unknown", 0)) for i in range(400)]
    place = np.arange(21) - 10
    y, x = np.meshgrid(place, place, indexing="ij")
    axes = np.array(
        [np.linalg.eigvalsh([[(k * a * b).sum() for b in (x, y)] for a in (x, y)]) for k in drawn]
    )  # variances along the two axes
    is_motion = axes[:, 0] < 0.99  # across a motion it is 3² / 12

    assert 0.18 < is_motion.mean() < 0.32
    assert np.sqrt(axes[~is_motion]).min() > 0.99
    assert np.sqrt(axes[~is_motion]).max() < 2.01
    lengths = np.sqrt((axes[is_motion, 1] - 3**2 / 12) * 12)
    assert 5.9 < lengths.min() < 7.5
    assert 10.5 < lengths.max() < 12.1


def test_draws_stay_what_they_are() -> None:
    """Shards are built again from these by later versions: the numbers may never change."""
    random = random_for(1, "0001", "unknown", 0)

    assert [random.uniform((2.0, 4.0)) for _ in range(2)] == [2.4517830653323034, 2.424125595775874]
    assert random.words(5).tolist() == [37167, 37211, 34823, 29465, 25390]
    assert random.stream(2).words(2).tolist() == [40855, 48903]


def test_draws_are_even() -> None:
    random = Random(hashlib.sha256(b"even").digest())
    uniform = np.array([random.uniform((-1.0, 3.0)) for _ in range(4000)])
    chosen = [random.choice("abc", (0.5, 0.3, 0.2)) for _ in range(4000)]
    words = random.words(40_000)

    assert -1 <= uniform.min() < -0.99
    assert 2.99 < uniform.max() < 3
    assert abs(uniform.mean() - 1) < 0.1
    assert sum(random.chance(0.3) for _ in range(4000)) / 4000 == pytest.approx(0.3, abs=0.04)
    assert [chosen.count(letter) / 4000 for letter in "abc"] == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
    assert {random.choice((1, 2, 3)) for _ in range(50)} == {1, 2, 3}
    assert abs(words.mean() - 32767.5) < 500
    assert not np.array_equal(words, random.words(40_000))
    assert not any(random.chance(0.0) for _ in range(1000))
    assert all(random.chance(1.0) for _ in range(1000))


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_gaussian_noise_has_its_deviation(grey: float) -> None:
    ranges = staged(gaussian_noise=(12.0, 12.0), grey_noise_probability=grey)
    hr = np.full((300, 400, 3), 120, np.uint8)
    noisy = synthetic._stage(hr, (300, 400), ranges.first, (7,), random_for(0, "a", "", 0), random_for(0, "b", "", 0))
    gap = noisy.astype(float) - 120

    assert gap.std() == pytest.approx(12, rel=0.02)
    assert abs(gap.mean()) < 0.1
    assert abs(gap).max() > 40
    assert (np.ptp(noisy, axis=2) == 0).all() == (grey == 1)
    assert abs(np.corrcoef(gap[:-1, :, 0].ravel(), gap[1:, :, 0].ravel())[0, 1]) < 0.02
    halves = np.corrcoef(gap[:, :200, 0].ravel(), gap[:, 200:, 0].ravel())[0, 1]
    assert abs(halves) < 0.02


@pytest.mark.parametrize("grey", [0.0, 1.0])
@pytest.mark.parametrize("level", [0, 3, 40, 128, 220])
def test_poisson_noise_grows_with_the_root_of_light(level: int, grey: float) -> None:
    """At strength 1 a level is about one count, so that the variance is the level."""
    ranges = staged(gaussian_noise_probability=0.0, poisson_scale=(1.0, 1.0), grey_noise_probability=grey)
    hr = np.full((300, 400, 3), level, np.uint8)
    noisy = synthetic._stage(hr, (300, 400), ranges.first, (7,), random_for(0, "a", "", 0), random_for(0, "b", "", 0))

    assert noisy.std() ** 2 == pytest.approx(level, rel=0.05)
    assert noisy.mean() == pytest.approx(level, abs=0.1)
    assert (np.ptp(noisy, axis=2) == 0).all() == (grey == 1 or level == 0)


@pytest.mark.parametrize("size", [(1, 1), (255, 40), (256, 33), (257, 16), (273, 50), (700, 35)])
def test_jpeg_by_strips_is_jpeg_of_the_whole(size: tuple[int, int]) -> None:
    image = noise(*size)
    whole = through_jpeg(image, 40)
    synthetic._code(image, dataclasses.replace(STILL, jpeg_quality=(40.0, 40.0)), random_for(0, "a", "", 0))

    np.testing.assert_array_equal(image, whole)


@pytest.mark.parametrize("size", [(18, 70_000), (70_000, 18)])
@pytest.mark.parametrize("track", MAKERS)
def test_an_image_may_be_longer_than_a_jpeg(track: str, size: tuple[int, int]) -> None:
    hr = np.full((*size, 3), 200, np.uint8)

    lr = made(track, hr, scale=2, variant=3)
    assert lr.shape == (size[0] // 2, size[1] // 2, 3)
    assert abs(lr.mean() - 200) < 4


@pytest.mark.parametrize("resample", synthetic._SUPPORT)
@pytest.mark.parametrize("size", [(1000, 60), (700, 41), (133, 60), (1500, 90), (1, 1)])
def test_resizing_by_strips_is_resizing_the_whole(resample: PIL.Image.Resampling, size: tuple[int, int]) -> None:
    image = noise(1000, 60)
    strips = list(synthetic._resized(image, None, size, resample))
    whole = np.asarray(PIL.Image.fromarray(image).resize((size[1], size[0]), resample))
    gap = abs(np.concatenate([strip for _, strip in strips]).astype(int) - whole)

    assert [rows.stop for rows, _ in strips][-1] == size[0]
    assert len(strips) > 1 or size == (1, 1)
    if resample != PIL.Image.Resampling.BOX:
        assert gap.max() <= 1  # Pillow takes the strip's bounds as float32
    assert (gap > 0).mean() < 0.15  # the rest: one of two pixels that are equally near


def test_blurring_by_strips_is_blurring_the_whole() -> None:
    image = noise(900, 40)
    kernel = gaussian(21, 3, 2, 0.5)
    strips = synthetic._resized(image, kernel, (900, 40), PIL.Image.Resampling.BICUBIC)

    np.testing.assert_array_equal(np.concatenate([strip for _, strip in strips]), blurred(image, kernel))


def test_without_blur_noise_and_jpeg_almost_the_shrunk_image_is_left() -> None:
    hr = np.repeat(smooth(480, 640)[:, :, :1], 3, axis=2)

    for variant in range(6):
        lr = second_order(hr, 4, staged(), random_for(0, "a", "second_order", variant))
        assert psnr(lr, bicubic_down(hr, 4)) > 32


def test_the_last_jpeg_comes_before_the_sinc_filter_or_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    code, blur, stream = synthetic._code, synthetic.kernels.blurred, Random.stream
    monkeypatch.setattr(synthetic, "_code", lambda *all: (steps.append("jpeg"), code(*all))[1])
    monkeypatch.setattr(synthetic.kernels, "blurred", lambda *all: (steps.append("sinc"), blur(*all))[1])
    monkeypatch.setattr(Random, "stream", lambda *all: (steps.append(f"noise {all[1]}"), stream(*all))[1])
    ranges = SecondOrderParams(first=STILL, second=STILL, final_sinc_probability=1.0)
    seen = set()
    for variant in range(12):
        steps.clear()
        second_order(noise(16, 16), 2, ranges, random_for(0, "a", "", variant))
        seen.add(tuple(steps))

    begin = ("noise 1", "jpeg", "noise 2")
    assert seen == {(*begin, "jpeg", "sinc"), (*begin, "sinc", "jpeg")}


@pytest.mark.parametrize(
    "harm",
    [
        {"blur_probability": 1.0, "blur_sigma": (8.0, 8.0), "sinc_probability": 0.0},
        {"blur_probability": 1.0, "sinc_probability": 1.0},
        {"resize_down_probability": 1.0, "resize_scale": (0.1, 0.1)},
        {"gaussian_noise": (60.0, 60.0)},
        {"gaussian_noise_probability": 0.0, "poisson_scale": (4.0, 4.0)},
        {"jpeg_quality": (3.0, 3.0)},
    ],
    ids=lambda harm: "-".join(harm),
)
def test_each_step_does_harm(harm: dict[str, Any]) -> None:
    hr = np.kron(noise(60, 80), np.ones((4, 4, 1), np.uint8))
    still, harmed = (second_order(hr, 4, ranges, random_for(0, "a", "", 0)) for ranges in (staged(), staged(**harm)))

    assert psnr(harmed, still) < 34
    changed = SecondOrderParams(first=STILL, second=dataclasses.replace(STILL, **harm), final_sinc_probability=0.0)
    assert psnr(second_order(hr, 4, changed, random_for(0, "a", "", 0)), still) < 34


@pytest.mark.parametrize(
    "ranges",
    [
        SecondOrderParams(kernel_size=3),
        SecondOrderParams(kernel_size=63),
        staged(resize_up_probability=1.0, resize_scale=(0.2, 0.5)),
        staged(resize_down_probability=1.0, resize_scale=(2.0, 4.0)),
        staged(resize_up_probability=1.0, resize_scale=(1.0, 4.0)),
        staged(resize_down_probability=1.0, resize_scale=(0.05, 0.05)),
        staged(blur_probability=1.0, blur_sigma=(0.05, 0.05)),
        staged(blur_probability=1.0, blur_sigma=(1e9, 1e9), generalized_beta=(900.0, 900.0), plateau_beta=(0.1, 900.0)),
        staged(gaussian_noise=(255.0, 255.0)),
        staged(gaussian_noise_probability=0.0, poisson_scale=(0.0, 255.0)),
        staged(jpeg_quality=(1.0, 1.0)),
    ],
)
def test_the_widest_ranges_work(ranges: SecondOrderParams) -> None:
    assert not [*ranges.problems(), *ranges.first.problems()]
    for variant in range(8):
        lr = second_order(noise(50, 70), 2, ranges, random_for(0, "a", "", variant))
        assert lr.shape == (25, 35, 3)


@pytest.mark.parametrize(
    "ranges",
    [
        UnknownParams(kernel_size=3, motion_length=(1.0, 3.0), motion_probability=1.0),
        UnknownParams(kernel_size=63, gaussian_sigma=(1e9, 1e9), motion_probability=0.0),
        UnknownParams(gaussian_sigma=(0.1, 0.1), motion_probability=0.0),
    ],
)
@pytest.mark.parametrize("scale", [2, 3, 8])
def test_the_widest_ranges_of_unknown_work(ranges: UnknownParams, scale: int) -> None:
    assert not list(ranges.problems())
    assert unknown(noise(50, 70), scale, ranges, random_for(0, "a", "", 0)).shape == (50 // scale, 70 // scale, 3)


def test_a_motion_longer_than_the_kernel_is_refused() -> None:
    assert list(UnknownParams(kernel_size=15).problems()) == []
    assert list(UnknownParams(kernel_size=13).problems()) == [
        ("motion_length", "is [3.0, 15.0], expected [least, most], both 1 to 13")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("track", MAKERS)
def test_memory_is_bounded_for_40_megapixels(track: str) -> None:
    """HR has 120 MB, and a first stage that enlarges by 1.5 leaves 270."""
    code = (
        "import dataclasses, resource, numpy as np\n"
        "from sr_core import degradation_params as p\n"
        "from sr_core.data import synthetic as s\n"
        "first = p.StageParams(resize_up_probability=1.0, resize_down_probability=0.0, resize_scale=(1.0, 1.5))\n"
        "s.Random.choice = lambda self, things, weights=None: things[0]\n"
        "s.Random.uniform = lambda self, span: span[1]\n"
        "ranges = {'unknown': p.UnknownParams(), 'second_order': p.SecondOrderParams(first=first)}\n"
        "hr = np.full((6000, 6667, 3), 99, np.uint8)\n"
        f"s.{track}(hr, 4, ranges['{track}'], s.random_for(0, 'a', '', 0))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(child.stdout) < {"unknown": 300, "second_order": 550}[track]
