import pytest

from sr_core.data.grid import offsets, patch_side, stored_per_raw


@pytest.mark.parametrize(("scale", "side"), [(2, 240), (3, 360), (4, 480), (8, 960)])
def test_the_smallest_patch_that_stores_pixels_three_times_at_most(scale: int, side: int) -> None:
    crop = 48 * scale
    found = patch_side(crop=48, scale=scale, sizes=[(10_000, 10_000)])

    assert found == side
    assert (found / (found - crop)) ** 2 <= 3
    smaller = found - 8 * scale
    assert (smaller / (smaller - crop)) ** 2 > 3


def test_the_patch_fits_into_the_smallest_image() -> None:
    assert patch_side(crop=48, scale=4, sizes=[(427, 640), (500, 741)]) == 424
    assert patch_side(crop=48, scale=4, sizes=[(427, 640), (500, 741)], wanted=400) == 400
    assert patch_side(crop=48, scale=4, sizes=[(427, 640), (500, 741)], wanted=800) == 424


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("side", [500, 512, 600, 768, 1000])
def test_images_little_larger_than_a_patch_are_not_stored_four_times(scale: int, side: int) -> None:
    sizes = [(side, side)] * 3 + [(side, side + side // 10)]
    crop = 192 // scale
    found = patch_side(crop=crop, scale=scale, sizes=sizes)

    assert found % scale == 0
    assert stored_per_raw(sizes, patch=found, crop=crop, scale=scale) <= 3


@pytest.mark.parametrize(("patch", "crop"), [(8, 8), (9, 8), (12, 8), (20, 8), (13, 5)])
def test_every_crop_of_an_image_lies_inside_some_patch(patch: int, crop: int) -> None:
    for length in range(patch, 150):
        starts = offsets(length, patch=patch, crop=crop)
        drawn = {start + i for start in starts for i in range(patch - crop + 1)}

        assert drawn == set(range(length - crop + 1)), length
        assert list(starts) == sorted(set(starts))


def test_patches_are_as_few_and_as_even_as_can_be() -> None:
    assert offsets(106, patch=106, crop=48) == (0,)
    assert offsets(160, patch=106, crop=48) == (0, 54)
    assert offsets(510, patch=120, crop=48) == (0, 65, 130, 195, 260, 325, 390)
