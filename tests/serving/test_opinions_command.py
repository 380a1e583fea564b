"""`sr opinions`: the table beside the figures, the file of votes, and a sentence for what it cannot show."""

import csv
import dataclasses
import json
import shutil

import pytest
import voting

from serving.opinions.command import main, opinions_on
from serving.opinions.stimuli import Stimuli
from serving.opinions.table import as_html, rows
from serving.opinions.votes import Votes
from sr_core.evaluate.opinions import Pair, Score, summarise

SET = voting.SETS[0]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    voting.comparison(tmp_path / "data" / "compare")
    return tmp_path


def cast(place, name="mine"):
    """Four raters: edsr 4, 4, 5, 3; bicubic 2 each; edsr is liked better in three pairs of four."""
    digest = Stimuli(place / "data" / "compare" / name).digest
    votes = Votes(path=place / "data" / "opinions" / f"{name}.db")
    for i, score in enumerate((4, 4, 5, 3)):
        shared = {"rater": f"r{i}", "test_set": SET, "image": "waldo-1"}
        votes.add_score(Score(**shared, model="edsr", score=score), comparison=digest, weights="w")
        votes.add_score(Score(**shared, model="bicubic", score=2), comparison=digest, weights="")
        pair = Pair(**shared, left="edsr", right="bicubic", choice="right" if i == 3 else "left")
        votes.add_pair(pair, comparison=digest, left_weights="w", right_weights="")
    return votes


def test_the_table_has_means_strengths_and_what_is_missing(place, capsys):
    cast(place)
    assert main([]) == 0
    said = capsys.readouterr().out
    assert f"{SET}, 4 raters" in said
    assert "4.00 (2.70 to 5.00)" in said  # 3.182 standard errors of 0.408
    assert "+0.55" in said  # log(3) / 2
    assert "bicubic: the raters' means are all alike" in said


def test_figures_stand_beside_opinions(place):
    directory = place / "data" / "compare" / "mine"
    cast(place)
    (said,) = opinions_on(directory, place / "data" / "opinions")

    @dataclasses.dataclass
    class Mean:
        psnr: float = 28.4231
        ssim: float = 0.8104

    class Report:
        models = ("bicubic",)

        def mean(self, model):
            return Mean()

    @dataclasses.dataclass
    class Figures:
        name: str = SET
        report: object = dataclasses.field(default_factory=Report)

        @property
        def sets(self):
            return (self,)

    lines = {row[0]: row[1:3] for row in rows(said, Figures())}
    assert lines == {"edsr": ("-", "-"), "bicubic": ("28.42", "0.8104")}
    assert {row[1] for row in rows(said, None)} == {"-"}


def test_nobody_voted(place, capsys):
    assert opinions_on(place / "data" / "compare" / "mine", place / "data" / "opinions") == ()
    assert main([]) == 1
    assert "has no votes on any comparison, there are: none yet; vote with: sr vote" in capsys.readouterr().err
    cast(place)
    assert main(["../mine"]) == 1
    assert "has no votes on ../mine, there are: mine" in capsys.readouterr().err


def test_every_vote_is_exported(place, capsys):
    cast(place)
    for name in ("votes.csv", "deep/er/votes.json"):
        assert main(["mine", "--export", name]) == 0
        assert capsys.readouterr().out == f"{name}: 12 votes\n"
    assert len(list(csv.DictReader((place / "votes.csv").read_text().splitlines()))) == 12
    tree = json.loads((place / "deep" / "er" / "votes.json").read_text())
    assert (len(tree["scores"]), len(tree["pairs"])) == (8, 4)
    assert main(["mine", "--export", "votes.xlsx"]) == 1
    assert "ends in neither .csv nor .json" in capsys.readouterr().err
    assert not (place / "votes.xlsx").exists()


def test_votes_on_other_pictures_are_shown_when_asked_for(place, capsys):
    old = Stimuli(place / "data" / "compare" / "mine").digest
    cast(place)
    shutil.rmtree(place / "data" / "compare" / "mine")
    voting.comparison(place / "data" / "compare", seed=3)
    assert main(["mine"]) == 0
    said = capsys.readouterr().out
    assert "nobody has voted on these pictures yet" in said
    assert f"12 votes on other pictures are kept apart: --pictures {old[:8]}" in said
    assert main(["mine", "--pictures", old[:8]]) == 0
    assert "4.00 (2.70 to 5.00)" in capsys.readouterr().out
    assert main(["mine", "--pictures", "zz"]) == 1
    assert f"zz fits 0 of those with votes: {old[:8]}" in capsys.readouterr().err
    shutil.rmtree(place / "data" / "compare" / "mine")
    assert main(["mine"]) == 0
    said = capsys.readouterr().out
    assert "is not there, so these are the pictures that were last voted on" in said
    assert "4.00 (2.70 to 5.00)" in said


def test_a_damaged_file_is_a_sentence(place, capsys):
    (place / "data" / "opinions").mkdir()
    (place / "data" / "opinions" / "mine.db").write_bytes(b"x" * 5000)
    assert main(["mine"]) == 1
    assert "mine.db: the votes cannot be read or written" in capsys.readouterr().err


def test_names_are_text_on_the_page_whatever_they_are():
    score = Score(rater="r", test_set="<b>set</b>", image="i", model="<script>alert(1)</script>", score=3)
    page = as_html(summarise([score], []), None)
    assert "<script>" not in page
    assert "<b>" not in page
