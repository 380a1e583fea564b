"""One photograph through one model, as the page does it, without the page."""

import numpy as np
import pytest

from serving.web import choices
from serving.web.limits import Limits, parse_bytes
from serving.web.work import Workshop
from sr_core.data.images import read_rgb, write_png
from sr_core.errors import ConfigError, ImageError


def photograph(path, height=13, width=17):
    write_png(path, np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    return path


@pytest.fixture
def models(tmp_path):
    return choices.local_models(tmp_path)


def test_a_photograph_is_enlarged_and_measured(tmp_path, models):
    photo, original = photograph(tmp_path / "a.png"), photograph(tmp_path / "b.png", 39, 51)
    outcome = Workshop(Limits()).enlarge(
        photo, choices.find(models, "nearest", "x3"), tmp_path / "out", original=original, protocol="whole-rgb"
    )
    assert outcome.result.name == "a-x3.png"
    assert np.array_equal(read_rgb(outcome.result), read_rgb(photo).repeat(3, 0).repeat(3, 1))
    assert [score.name for score in outcome.scores] == ["nearest", "bicubic"]
    assert outcome.protocol == "whole-rgb (RGB, whole image)"


def test_an_original_of_another_size_is_refused(tmp_path, models):
    photo = photograph(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"original is 17x13, expected 2 times the photograph: 34x26"):
        Workshop(Limits()).enlarge(photo, choices.find(models, "bicubic", "x2"), tmp_path / "out", original=photo)


def test_too_large_a_result_is_refused_before_anything_is_made(tmp_path, models):
    with pytest.raises(ImageError):
        Workshop(Limits(max_result_pixels=1000)).enlarge(
            photograph(tmp_path / "a.png"), choices.find(models, "bicubic", "x4"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_is_named_beside_those_that_are(models):
    with pytest.raises(ConfigError, match=r"no model 'edsr'.*\n  bicubic"):
        choices.find(models, "edsr", None)
    with pytest.raises(ConfigError, match=r"bicubic has no version 'x5'.*\n  x4\n  x2"):
        choices.find(models, "bicubic", "x5")


@pytest.mark.parametrize(("text", "expected"), [("1G", 2**30), ("500MiB", 500 * 2**20), ("1.5k", 1536), ("7", 7)])
def test_sizes_are_read(text, expected):
    assert parse_bytes(text, name="--memory") == expected


@pytest.mark.parametrize("text", ["", "0", "-1G", "1X", "G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="--memory: is"):
        parse_bytes(text, name="--memory")
