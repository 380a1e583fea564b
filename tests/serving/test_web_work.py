"""One photograph through one model, as the page does it, without the page."""

import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from bad_inputs import BAD_INPUTS, BadInput
from web_server import write_model

from serving.web import choices, parts
from serving.web.catalogue import Catalogue
from serving.web.choices import Named, Version
from serving.web.limits import SMALLEST_BUDGET_BYTES, SPARE_BYTES, Limits, resident_bytes
from serving.web.sweep import Sweeper
from serving.web.work import Workshop
from sr_core.data.images import read_rgb, write_png
from sr_core.data.pictures import read_picture
from sr_core.data.resize import bicubic_down
from sr_core.errors import ConfigError, ImageError, TrackError


def photograph(path, height=13, width=17):
    write_png(path, np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    return path


@pytest.fixture
def models(tmp_path):
    return choices.local_models(tmp_path)


@pytest.fixture(scope="module")
def workshop():
    return Workshop(Limits())


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
    with pytest.raises(ImageError, match=r"17x13 pixels, more than this page.s limit of 62; cut or shrink it, or use"):
        Workshop(Limits(max_result_pixels=1000)).enlarge(
            photograph(tmp_path / "a.png"), choices.find(models, "bicubic", "x4"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there_is_named_beside_those_that_are(models):
    with pytest.raises(ConfigError, match=r"no model 'edsr'.*\n  bicubic"):
        choices.find(models, "edsr", None)
    with pytest.raises(ConfigError, match=r"bicubic has no version 'x5'.*\n  x4\n  x2"):
        choices.find(models, "bicubic", "x5")


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_a_bad_input_ends_in_a_message_or_the_right_picture(workshop, models, tmp_path, bad: BadInput):
    (tmp_path / "photo.bin").write_bytes(bad.data)
    version = choices.find(models, "nearest", "x2")
    if bad.picture is None:
        with pytest.raises(ImageError) as refusal:
            workshop.enlarge(tmp_path / "photo.bin", version, tmp_path / "out")
        said = str(refusal.value)
        assert said.startswith("photo.bin: ")
        assert re.search(bad.says.replace(r"data\.max_pixels 100000000", r"this page's limit of \d+"), said), said
        return
    outcome = workshop.enlarge(tmp_path / "photo.bin", version, tmp_path / "out")
    found = read_picture(outcome.result)
    assert found.pixels.dtype == bad.picture.pixels.dtype
    twice = bad.picture.pixels.repeat(2, 0).repeat(2, 1).astype(int)
    np.testing.assert_allclose(found.pixels.astype(int), twice, atol=0 if bad.exact else 3)
    assert (found.alpha is None) == (bad.picture.alpha is None)


def test_one_model_is_held_at_a_time(workshop, models, tmp_path):
    photo = photograph(tmp_path / "a.png")
    said: list[str] = []
    for name in ("bicubic", "bicubic", "nearest"):
        workshop.enlarge(photo, choices.find(models, name, "x2"), tmp_path / "out", say=said.append)
    assert [line for line in said if line.startswith("Loading")] == ["Loading bicubic …", "Loading nearest …"]


def test_tiles_may_take_what_is_left_of_the_memory():
    million = 10**6
    limits = Limits(memory_bytes=resident_bytes() + SPARE_BYTES + 500 * million)
    assert limits.budget_bytes(0) == pytest.approx(500 * million, rel=0.1)
    assert limits.budget_bytes(200 * million) == pytest.approx(300 * million, rel=0.1)
    assert limits.budget_bytes(900 * million) == SMALLEST_BUDGET_BYTES
    assert Limits().budget_bytes(0) is None


def test_little_memory_leaves_the_picture_the_same(tmp_path):
    directory = write_model(tmp_path)
    photo, version = photograph(tmp_path / "a.png", 150, 170), Version(label="here", model=str(directory), scale=2)
    results = [
        Workshop(Limits(memory_bytes=memory_bytes)).enlarge(photo, version, tmp_path / str(memory_bytes)).result
        for memory_bytes in (None, 1)
    ]
    assert results[0].read_bytes() == results[1].read_bytes()


def test_work_ends_after_the_tile_at_which_its_visitor_stops_it(tmp_path):
    directory = write_model(tmp_path)
    photo, version = photograph(tmp_path / "a.png", 150, 170), Version(label="here", model=str(directory), scale=2)
    shown = []

    def show(done: tuple[int, int] | None, **about: str) -> None:
        shown.append(done)
        if done and done[0] == 2:
            bar.stop()

    bar = parts.Bar(show)
    with pytest.raises(parts.StoppedByVisitorError, match="stopped, as you wished"):
        Workshop(Limits()).enlarge(photo, version, tmp_path / "out", say=bar.say, progress=bar)
    assert [done for done in shown if done][-1][0] == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_old_or_too_much_is_removed(tmp_path):
    sweeper = Sweeper(tmp_path, Limits(keep_s=100, keep_bytes=250))
    for i, age_s in enumerate([500, 60, 50, 40]):
        path = tmp_path / f"{i}" / "file"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (time.time() - age_s,) * 2)
        os.utime(path.parent, (time.time() - age_s,) * 2)
    sweeper.sweep()
    assert sorted(path.parent.name for path in tmp_path.glob("*/file")) == ["2", "3"]


def test_a_visitor_who_leaves_takes_the_results_along_and_nobody_elses(tmp_path):
    sweeper = Sweeper(tmp_path / "ours", Limits())
    sweeper.folder.mkdir()
    for session in ("one", "two", "../../outside"):
        (sweeper.folder_of(session) / "file").touch()
    assert len(list(tmp_path.glob("ours/session-*/file"))) == 3
    sweeper.forget("one")
    assert len(list(tmp_path.glob("ours/session-*/file"))) == 2


def test_a_registry_that_does_not_answer_delays_nobody(tmp_path):
    began, go_on = threading.Event(), threading.Event()

    def ask(uri: str) -> tuple[Named, ...]:
        began.set()
        go_on.wait(30)
        raise TrackError("nobody answers")

    catalogue = Catalogue(tmp_path, "http://127.0.0.1:9", ask)
    catalogue.refresh()
    assert began.wait(10)
    assert [named.name for named in catalogue.models()] == list(choices.INTERPOLATION)
    assert catalogue.note() == "Asking the registry at http://127.0.0.1:9 …"
    go_on.set()
    catalogue.wait()
    assert catalogue.note() == "The registry at http://127.0.0.1:9 cannot be used: nobody answers"


def test_what_the_registry_has_stands_first(tmp_path):
    version = Version(label="champion (version 2)", model="models:/sr-edsr/2", scale=4)
    catalogue = Catalogue(tmp_path, "http://127.0.0.1:9", lambda _: (Named(name="sr-edsr", versions=(version,)),))
    catalogue.refresh()
    catalogue.wait()
    assert [named.name for named in catalogue.models()][:2] == ["sr-edsr", "bicubic"]
    assert catalogue.note() == "The registry at http://127.0.0.1:9 has 1 version to choose from."


def test_samples_are_made_smaller_as_training_does_it(tmp_path):
    (tmp_path / "raw" / "sample" / "DIV2K_valid_HR").mkdir(parents=True)
    path = photograph(tmp_path / "raw" / "sample" / "DIV2K_valid_HR" / "one.png", 31, 47)
    (sample,) = choices.samples(tmp_path)
    small, original = choices.reduce_sample(sample, 3, tmp_path / "out")
    assert np.array_equal(read_rgb(original), read_rgb(path)[:30, :45])
    assert np.array_equal(read_rgb(small), bicubic_down(read_rgb(original), 3))


def test_the_page_is_built_without_torch():
    """Which takes as long to import as all the rest; the first photograph, or vote, waits for it, and no visitor."""
    code = "import sys; import serving.web.page, serving.web.acts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
