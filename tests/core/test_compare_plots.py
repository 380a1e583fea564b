"""Where names go in a plot, what the plot's line joins, how times are taken, and where the crop is."""

import itertools
import random

import numpy as np
import pytest
import torch
from comparing import loaded
from test_compare_report import comparison

from sr_core.compare import figure, plots, speed
from sr_core.compare.labels import covered, is_far, nearest, placed
from sr_core.upscale import Box

WITHIN = (0.0, 0.0, 800.0, 480.0)


def crowds():
    drawn = random.Random(1)
    yield [(400.0, 240.0)] * 2
    yield [(10.0, 10.0), (795.0, 475.0), (795.0, 10.0), (10.0, 475.0)]
    yield [(600 + 6.0 * i, 200 + 3.0 * i) for i in range(12)]
    for _ in range(20):
        yield [(drawn.uniform(300, 500), drawn.uniform(150, 300)) for _ in range(14)]


@pytest.mark.parametrize("dots", [*crowds()])
def test_no_name_lies_on_another_or_on_a_dot(dots):
    sizes = [(40 + 7.0 * (i % 9), 18.0) for i in range(len(dots))]
    names = placed(dots, sizes, WITHIN)
    for one, other in itertools.combinations(names, 2):
        assert covered(one, other) < 1e-6
    for name, size in zip(names, sizes, strict=True):
        assert (name[2] - name[0], name[3] - name[1]) == pytest.approx(size)
        assert covered(name, WITHIN) == pytest.approx(size[0] * size[1]), "it is inside"
        assert all(covered(name, (x - 6, y - 6, x + 6, y + 6)) < 1e-6 for x, y in dots)


def test_a_lonely_dot_has_its_name_at_its_right():
    ((left, top, right, bottom),) = placed([(100.0, 100.0)], [(50.0, 18.0)], WITHIN)
    assert (left, (top + bottom) / 2, right) == (110.0, 100.0, 160.0)
    assert not is_far((100.0, 100.0), (left, top, right, bottom))
    assert nearest((100.0, 100.0), (left, top, right, bottom)) == (110.0, 100.0)


def test_names_leave_what_is_taken():
    taken = (100.0, 90.0, 800.0, 110.0)
    (name,) = placed([(100.0, 100.0)], [(50.0, 18.0)], WITHIN, [taken])
    assert covered(name, taken) == 0


def test_the_front_is_what_nothing_cheaper_equals():
    points = [(3.0, 30.0), (1.0, 28.0), (2.0, 27.0), (3.0, 29.0), (4.0, 30.0), (5.0, 31.0)]
    assert plots.front_of(points) == [(1.0, 28.0), (3.0, 30.0), (5.0, 31.0)]


def test_plots_show_every_model_that_has_figures():
    found = comparison()
    for drawn in (plots.over_parameters(found, found.sets[0]), plots.over_time(found, found.sets[0])):
        assert drawn.shape == (plots.HEIGHT, plots.WIDTH, 3)
    one = plots.over_parameters(found, found.sets[0])
    # edsr's PSNR is infinite, so the only dot is bicubic's, left of the axis
    at = np.argwhere((one == plots.PALE).all(axis=2) & (np.arange(plots.WIDTH) > plots.LEFT)[None])
    assert at.size


class Counting(torch.nn.Module):
    """Doubles an image and notes when."""

    def __init__(self, name, calls):
        super().__init__()
        self.scale, self.receptive_field = 2, 0
        self.name, self.calls = name, calls

    def forward(self, x):
        self.calls.append(self.name)
        return x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


def counting(name, calls):
    made = loaded()
    return type(made)(network=Counting(name, calls).eval(), card=made.card)


def test_models_take_turns_and_warm_up_first():
    calls = []
    models = {name: counting(name, calls) for name in "abc"}
    now = iter(np.cumsum([0, *[100, 0] * 3, *[1, 0] * 3, *[2, 0] * 3, *[9, 0] * 3]).tolist())
    image = np.zeros((20, 20, 3), np.uint8)
    speeds, timing = speed.measure(models, image, rounds=3, device=torch.device("cpu"), clock=lambda: next(now))
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    megapixels = 1600 / 1e6
    for each in speeds.values():
        assert each.median_s == pytest.approx(2 / megapixels)
        assert (each.fastest_s, each.slowest_s) == pytest.approx((1 / megapixels, 9 / megapixels))
    assert (timing.rounds, timing.megapixels) == (3, megapixels)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(8, 30), (900, 900)])
def test_speed_is_measured_on_half_a_megapixel(scale, size):
    probe = speed.probe(np.zeros((*size, 3), np.uint8), scale)
    assert probe.shape[0] * probe.shape[1] * scale**2 == pytest.approx(5e5, rel=0.02)


def test_the_crop_is_where_models_differ_among_each_other():
    bicubic = np.zeros((200, 300, 3), np.uint8)
    one, other = bicubic.copy(), bicubic.copy()
    one[:60, :80] = other[:60, :80] = 255  # both differ most from bicubic here, and agree
    one[120:150, 200:250] = 90
    box = figure.focus_of({"bicubic": bicubic, "one": one, "other": other})
    assert box.top <= 120 < 150 <= box.bottom
    assert box.left <= 200 < 250 <= box.right
    alone = figure.focus_of({"bicubic": bicubic, "one": one})
    assert (alone.top, alone.left) == (0, 0), "one model is compared with bicubic"


def test_a_small_image_is_shown_whole():
    versions = {"bicubic": np.zeros((20, 30, 3), np.uint8), "one": np.ones((20, 30, 3), np.uint8)}
    assert figure.focus_of(versions) == Box(top=0, left=0, bottom=20, right=30)
