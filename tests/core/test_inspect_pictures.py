"""The contact sheet and the plots show what is there."""

from pathlib import Path

import numpy as np
import pytest
from photos import noise
from PIL import Image

from sr_core.data.images import write_png
from sr_core.inspect import charts, sheet
from sr_core.inspect.drawing import OF_SPLIT
from sr_core.inspect.sheet import CELL, GAP, HEAD, MARGIN, WHOLE, Row
from sr_core.progress import QUIET


def test_the_window_is_where_the_detail_is() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    image[200:296, 400:496] = noise(96, 96)

    window = sheet.busiest(image, scale=4)
    assert (window.side, window.top % 4, window.left % 4) == (96, 0, 0)
    assert abs(window.top - 200) <= 4
    assert abs(window.left - 400) <= 4


@pytest.mark.parametrize("size", [(4, 4), (8, 300), (5, 7)])
def test_a_small_image_is_its_own_window(size: tuple[int, int]) -> None:
    window = sheet.busiest(noise(*size), scale=4)

    assert window.side == min(size) // 4 * 4


def test_hr_and_lr_windows_lie_over_each_other() -> None:
    hr = noise(160, 240)
    lr = hr[::2, ::2]
    row = Row(label="a", hr=hr, lr={"bicubic": lr}, notes={})

    drawn = sheet.draw_sheet("title", [row], 1, ["bicubic", "unknown"], 2, progress=QUIET)
    top, left = MARGIN + HEAD, MARGIN + WHOLE + GAP
    window = sheet.busiest(hr, scale=2)
    cell = drawn[top : top + CELL, left : left + CELL]
    np.testing.assert_array_equal(cell[:: CELL // 24 // 2, :: CELL // 24 // 2], window.of(hr))
    cell = drawn[top : top + CELL, left + CELL + GAP : left + 2 * CELL + GAP]
    np.testing.assert_array_equal(cell[:: CELL // 24, :: CELL // 24], window.of(lr, 2))


def test_what_cannot_be_shown_leaves_its_place_empty() -> None:
    rows = [
        Row(label="a", hr=None, lr={}, notes={}),
        Row(label="日本 ü", hr=noise(80, 80), lr={"wild": noise(3, 3)}, notes={}),
    ]

    drawn = sheet.draw_sheet("title", rows, 2, ["wild", "mild"], 2, progress=QUIET)
    assert drawn.shape == (MARGIN + HEAD + 2 * (CELL + sheet.FOOT) + MARGIN, 2 * MARGIN + WHOLE + 3 * (GAP + CELL), 3)


def test_brightness_of_black_and_white(tmp_path: Path) -> None:
    paths = {}
    for split, value in (("train", 0), ("valid", 255)):
        write_png(tmp_path / f"{split}.png", np.full((300, 600, 3), value, np.uint8))
        paths[split] = [tmp_path / f"{split}.png"]

    shares, counts, failures = charts.brightness(paths, max_pixels=10**6, progress=QUIET)
    assert shares["train"][0] == shares["valid"][-1] == pytest.approx(1)
    assert (counts, failures) == ({"train": 1, "valid": 1}, [])


def test_what_cannot_be_decoded_is_left_out_of_the_brightness_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")

    shares, counts, failures = charts.brightness({"train": [tmp_path / "a.png"]}, max_pixels=9, progress=QUIET)
    assert (shares, counts) == ({}, {})
    assert failures == [
        f"{tmp_path}/a.png: is no PNG, JPEG, TIFF, BMP or WebP image; convert it to 8-bit RGB, or take it out"
    ]


@pytest.mark.parametrize(("count", "most", "expected"), [(3, 5, [0, 1, 2]), (9, 3, [1, 4, 7]), (0, 3, [])])
def test_spread(count: int, most: int, expected: list[int]) -> None:
    assert charts.spread(range(count), most) == expected


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((np.abs(image.astype(int) - colour) < 8).all(axis=2))


def test_a_dot_lies_where_its_size_is() -> None:
    drawn = charts.plot_sizes({"train": [(100, 50)], "valid": []}, smallest=8)
    ring = near(drawn[charts.TOP :], OF_SPLIT["train"])
    row, column = ring.mean(axis=0)
    width = charts.WIDTH - charts.LEFT - charts.RIGHT
    height = charts.HEIGHT - charts.TOP - charts.BOTTOM
    assert column == pytest.approx(charts.LEFT + width / 1.08, abs=2)
    assert row == pytest.approx(height - height / 1.08, abs=2)


@pytest.mark.parametrize("sizes", [{}, {"train": [(1, 1)]}, {"train": [(40000, 3)] * 5, "valid": [(2, 2)]}])
def test_any_sizes_can_be_plotted(sizes: dict[str, list[tuple[int, int]]]) -> None:
    assert charts.plot_sizes(sizes, smallest=1).shape == (charts.HEIGHT, charts.WIDTH, 3)


@pytest.mark.parametrize("highest", [1e-3, 0.7, 1, 5, 9.9, 10, 540, 2200, 1e6])
def test_ticks_are_few_and_round(highest: float) -> None:
    ticks = list(charts._ticks(highest))

    assert 3 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert ticks[-1] <= highest * (1 + 1e-9)


def test_brightness_can_be_plotted() -> None:
    shares = {"train": np.full(charts.BINS, 1 / charts.BINS), "valid": np.eye(charts.BINS)[0]}
    drawn = charts.plot_brightness(shares, {"train": 1, "valid": 1})

    assert len(near(drawn[charts.TOP :], OF_SPLIT["train"])) > 300
    assert Image.fromarray(drawn).size == (charts.WIDTH, charts.HEIGHT)
