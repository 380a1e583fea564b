"""A comparison's directory: whole, what others look for in it, and its page without anything to fetch."""

import dataclasses
import html.parser
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from comparing import CHOICE, loaded, wanted
from photos import noise, write_folder
from rich.console import Console

from sr_core.compare import words
from sr_core.compare.entrants import line_up
from sr_core.compare.page import as_html
from sr_core.compare.report import COMPARISON, image_path, read_comparison
from sr_core.compare.run import Choice, compare_to
from sr_core.compare.sets import gathered
from sr_core.data.images import read_rgb, write_png
from sr_core.errors import BusyError, ImageError, SrError
from sr_core.evaluate.niqe import fit
from sr_core.evaluate.perceptual import Judge
from sr_core.params import Params
from sr_core.upscale import upscale

ODD = "it's <b>&amp;"  # a file may be called so


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("photos") / "Set3", [(64, 96), (72, 50)])
    write_png(folder / f"{ODD}.png", noise(60, 80, seed=7))
    return folder


@pytest.fixture(scope="module")
def opened():
    return [("models/one", loaded(seed=1)), ("models/two", loaded(seed=2)), ("models/srcnn", loaded("srcnn", seed=3))]


@pytest.fixture(scope="module")
def sets(photographs):
    return gathered(wanted(photographs, degradations=("bicubic", "unknown")), Params()).sets


@pytest.fixture(scope="module")
def compared(tmp_path_factory, opened, sets):
    directory = tmp_path_factory.mktemp("compare") / "tiny"
    return directory, compare_to(directory, line_up(opened), sets, CHOICE)


LABELS = ["bicubic", "edsr-01010101", "edsr-02020202", "srcnn"]


def test_the_directory_holds_what_others_look_for(compared):
    directory, found = compared
    assert read_comparison(directory) == found
    assert [model.label for model in found.models] == LABELS
    expected = {"compare.json", "compare.md", "index.html"}
    for on in found.sets:
        assert len(on.images) == 2, "as many pictures as were asked for"
        expected |= {f"parameters-{on.name}.png", f"time-{on.name}.png"}
        for image in on.images:
            expected.add(f"gallery/{on.name}/{image.image}.png")
            expected |= {str(image_path(on.name, image.image, which)) for which in ("lr", "hr", *LABELS)}
    assert {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} == expected


def test_pictures_are_the_pixels(compared, sets, opened):
    directory, found = compared
    for on, images in zip(found.sets, sets, strict=True):
        for image in on.images:
            i = list(images.images.keys).index(image.image)
            lr, hr = images.images.lr(i), images.images.hr(i)
            stored = {which: read_rgb(directory / image_path(on.name, image.image, which)) for which in ("lr", "hr")}
            assert np.array_equal(stored["lr"], lr)
            assert np.array_equal(stored["hr"], hr)
            assert hr.shape[:2] == (image.height, image.width)
            own = read_rgb(directory / image_path(on.name, image.image, "srcnn"))
            assert np.array_equal(own, upscale(opened[2][1].network, lr, precision="float32"))


def test_figures_are_those_of_an_evaluation(compared):
    _, found = compared
    on = found.on("Set3-x2-unknown")
    assert (on.report.lr_source, len(on.report.images)) == ("made here: unknown, seed 0", 3)
    assert (on.report.degradation, on.report.weights["srcnn"]) == ("unknown", "03" * 32)
    assert on.report.facts["srcnn"].architecture == "srcnn"
    assert all(model.speed and model.speed.median_s > 0 for model in found.models)


def test_the_table_says_protocol_and_every_figure(compared):
    directory, found = compared
    text = (directory / "compare.md").read_text()
    assert text.count("benchmark-y (Y, 2 pixels shaved), float32, LR: made here: ") == 2
    for on in found.sets:
        for model in found.models:
            assert f"{on.report.mean(model.label).psnr:.2f}" in text
    rows = [line for line in text.splitlines() if line.startswith("| edsr-01010101")]
    assert len(rows) == 2
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "NIQE" not in text, "it was not measured"
    assert "median of 1 round in turn" in text


class Page(html.parser.HTMLParser):
    """What a page refers to, how often its tags come, and whether all that is opened is closed."""

    VOID = frozenset({"meta", "img", "input", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.open, self.attributes = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        self.references += [value for name, value in attributes if name in {"src", "href", "srcset", "action", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_fetches_nothing(compared):
    directory, found = compared
    text = (directory / "index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "link" not in page.tags
    assert all(reference.startswith(("data:image/", "#")) for reference in page.references)
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttp|<iframe", text)
    assert page.tags.count("table") == len(found.sets)
    assert page.tags.count("article") == sum(len(on.images) for on in found.sets)
    for tag, name, value in page.attributes:
        assert name != "alt" or value, f"{tag} has no text for those who do not see it"
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= anchors


def test_names_of_files_stay_text(tmp_path, photographs, opened):
    sets = gathered(wanted(photographs), Params()).sets
    compare_to(tmp_path / "odd", line_up(opened[:1]), sets, Choice(rounds=0))
    text = (tmp_path / "odd" / "index.html").read_text()
    assert "it's <b>" not in text
    assert Page(text).open == []
    assert not list((tmp_path / "odd").glob("time-*")), "no time was taken"


def test_a_rerun_replaces_all_of_it(tmp_path, opened, sets):
    directory = tmp_path / "again"
    compare_to(directory, line_up(opened), sets[:1], CHOICE)
    compare_to(directory, line_up(opened[2:]), sets[:1], CHOICE)
    assert [model.label for model in read_comparison(directory).models] == ["bicubic", "srcnn"]
    assert not list(directory.rglob("edsr*"))


class Unreadable:
    """Test images of which the last vanishes in the middle of all work."""

    def __init__(self, images):
        self._images, self._looks = images, 0
        self.scale, self.keys, self.digest = images.scale, images.keys, images.digest

    def __len__(self):
        return len(self._images)

    def lr(self, i):
        self._looks += 1
        if self._looks > len(self) + 1:  # after all were looked at, and one was measured
            raise ImageError("the file was lost")
        return self._images.lr(i)

    def hr(self, i):
        return self._images.hr(i)


def test_what_fails_leaves_the_old_one(tmp_path, opened, sets):
    directory = tmp_path / "kept"
    compare_to(directory, line_up(opened[2:]), sets[:1], CHOICE)
    before = (directory / COMPARISON).read_bytes()
    bad = dataclasses.replace(sets[1], images=Unreadable(sets[1].images))
    with pytest.raises(ImageError, match="lost"):
        compare_to(directory, line_up(opened), [sets[0], bad], CHOICE)
    assert (directory / COMPARISON).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".locks", "kept"]


def test_something_else_is_never_replaced(tmp_path, opened, sets):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(SrError, match="exists and is no comparison"):
        compare_to(tmp_path / "mine", line_up(opened), sets, CHOICE)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]


HOLD = """
import sys
from pathlib import Path
from sr_core import files
with files.lock_directory(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_one_at_a_time(tmp_path, opened, sets):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / ".locks" / "busy")], **pipes) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"process {child.pid}"):
            compare_to(tmp_path / "busy", line_up(opened), sets, CHOICE)
        child.communicate("\n")


def test_published_figures_stand_below_ours_where_images_and_protocol_are_theirs(compared):
    _, found = compared
    # the figures of bicubic that the papers have, as if they had been measured here
    on, scores = found.sets[0], []
    for score in on.report.scores:
        scores.append(dataclasses.replace(score, psnr=28.43 if score.model == "bicubic" else 30.0))
    report = dataclasses.replace(on.report, test_set="Set5", scale=4, scores=tuple(scores))
    named = dataclasses.replace(found, scale=4, sets=(dataclasses.replace(on, test_set="Set5", report=report),))
    text = words.markdown(named)
    rows = [line for line in text.splitlines() if "(published)" in line and line.startswith("|")]
    assert rows[0].startswith("| *bicubic (published)* | 28.42 | - | 0.8104 | - | - |")
    assert "Lim et al. 2017, trained on DIV2K" in text
    assert named.to_dict()["sets"][0]["published"][0]["psnr"] == 28.42
    page = as_html(named, {}, {})
    assert page.count("<tr class=theirs>") == len(rows) > 5
    screen = io.StringIO()
    Console(file=screen, width=120).print(words.table(named))
    assert len(re.findall(r"^  EDSR full \(published\) +32.46 ", screen.getvalue(), re.MULTILINE)) == 1
    # other images of that name: bicubic tells
    far = tuple(dataclasses.replace(score, psnr=27.0) for score in report.scores)
    others = dataclasses.replace(named.sets[0], report=dataclasses.replace(report, scores=far))
    text = words.markdown(dataclasses.replace(named, sets=(others,)))
    assert "(published)" not in text
    assert "so these are other images" in text


def test_niqe_is_in_the_table_where_it_is_measured(tmp_path, opened):
    write_png(tmp_path / "Large" / "a.png", noise(220, 220))
    large = gathered(wanted(tmp_path / "Large"), Params()).sets
    pristine = fit((str(seed), lambda seed=seed: noise(400, 400, seed=seed)) for seed in range(2))
    choice = Choice(rounds=0, judge=Judge(pristine=pristine))
    found = compare_to(tmp_path / "niqe", line_up(opened[2:]), large, choice)
    assert found.sets[0].report.mean("srcnn").niqe is not None
    assert "| NIQE |" in words.markdown(found)
    assert read_comparison(tmp_path / "niqe").sets[0].report.perceptual.metric == "niqe"
