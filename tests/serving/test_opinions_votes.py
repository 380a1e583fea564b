"""The file of votes: counted once, kept through kills, shared by servers, and refused where it is not ours."""

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from serving.opinions.votes import APPLICATION, Votes
from sr_core.errors import SrError
from sr_core.evaluate.opinions import Pair, Score

NASTY = "x'); DROP TABLE scores; --"


def a_score(rater="r1", image="a", model="edsr", score=4):
    return Score(rater=rater, test_set="set", image=image, model=model, score=score)


def a_pair(rater="r1", left="edsr", right="srgan", choice="left"):
    return Pair(rater=rater, test_set="set", image="a", left=left, right=right, choice=choice)


@pytest.fixture
def votes(tmp_path):
    return Votes(path=tmp_path / "opinions" / "mine.db")


def add(votes, vote, comparison="c1"):
    if isinstance(vote, Score):
        return votes.add_score(vote, comparison=comparison, weights="w")
    return votes.add_pair(vote, comparison=comparison, left_weights="wl", right_weights="wr")


def test_a_picture_counts_once_and_the_first_vote_stays(votes):
    assert add(votes, a_score(score=4))
    assert not add(votes, a_score(score=1))
    assert votes.scores("c1") == (a_score(score=4),)
    assert add(votes, a_score(rater="r2"))
    assert add(votes, a_score(image="b"))


def test_a_pair_counts_once_whichever_side_it_stood_on(votes):
    assert add(votes, a_pair(choice="left"))
    assert not add(votes, a_pair(left="srgan", right="edsr", choice="left"))
    assert votes.pairs("c1") == (a_pair(choice="left"),)


def test_votes_on_other_pictures_are_kept_apart(votes):
    add(votes, a_score(), "c1")
    add(votes, a_score(score=1), "c2")
    add(votes, a_pair(), "c2")
    assert votes.scores("c1") == (a_score(),)
    assert votes.scores("c2", rater="r1") == (a_score(score=1),)
    assert votes.scores("c2", rater="r9") == ()
    assert {each.comparison: (each.num_scores, each.num_pairs) for each in votes.held()} == {
        "c1": (1, 0),
        "c2": (1, 1),
    }
    assert votes.held()[0].comparison == "c2"


def test_who_has_seen_results_is_noted(votes):
    assert not votes.is_informed("r1", "c1")
    votes.inform("r1", "c1")
    votes.inform("r1", "c1")
    assert votes.is_informed("r1", "c1")
    assert not votes.is_informed("r1", "c2")


def test_reading_makes_no_file(votes):
    assert votes.scores("c1") == ()
    assert votes.held() == ()
    assert not votes.path.parent.exists()


def test_names_are_never_read_as_sql(votes):
    vote = Score(rater=NASTY, test_set=NASTY, image='"', model=NASTY, score=2)
    assert add(votes, vote, NASTY)
    assert votes.scores(NASTY, rater=NASTY) == (vote,)


@pytest.mark.parametrize("value", [0, 6, "3x", None, 2.5])
def test_the_file_itself_refuses_other_scores(votes, value):
    add(votes, a_score())
    vote = object.__new__(Score)
    for name, each in {"rater": "r", "test_set": "s", "image": "i", "model": "m", "score": value}.items():
        object.__setattr__(vote, name, each)
    with pytest.raises(SrError, match=r"mine.db: the votes cannot be read or written"):
        add(votes, vote)
    assert len(votes.scores("c1")) == 1


def test_the_file_is_in_write_ahead_mode_and_syncs(votes):
    add(votes, a_score())
    with votes._open() as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_export_holds_everything(votes):
    add(votes, Score(rater="r1", test_set="set", image="a, b", model='"m"', score=5))
    add(votes, a_pair(choice="tie"))
    tree = json.loads(votes.as_json())
    assert tree["scores"][0]["model"] == '"m"'
    assert tree["pairs"][0] | {"time": ""} == {
        "time": "",
        "rater": "r1",
        "comparison": "c1",
        "test_set": "set",
        "image": "a",
        "left_model": "edsr",
        "left_weights": "wl",
        "right_model": "srgan",
        "right_weights": "wr",
        "choice": "tie",
    }
    score, pair = csv.DictReader(io.StringIO(votes.as_csv()))
    assert (score["kind"], score["image"], score["model"], score["right"], score["answer"]) == (
        *("score", "a, b", '"m"', "", "5"),
    )
    assert (pair["kind"], pair["model"], pair["right"], pair["answer"]) == ("pair", "edsr", "srgan", "tie")


def other_version(path):
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute("PRAGMA user_version = 7")
    database.close()


def somebody_elses(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE cookies (name)")
    database.close()


def no_database(path):
    path.write_bytes(b"<html>" * 1000)


def torn(path):
    for i in range(20):
        add(Votes(path=path), a_score(rater=f"r{i}" * 2000))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_version, "of version 7, this program knows version 1"),
        (somebody_elses, "a database of something else"),
        (no_database, "the votes cannot be read or written"),
        (torn, "the votes cannot be read or written"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_left_alone(votes, spoil, said):
    votes.path.parent.mkdir()
    spoil(votes.path)
    before = votes.path.read_bytes()
    with pytest.raises(SrError, match=f"mine.db: .*{said}"):
        add(votes, a_score(rater="new"))
    with pytest.raises(SrError, match=said):
        votes.scores("c1")
    assert votes.path.read_bytes() == before


def test_many_raters_at_once_in_a_new_file(votes):
    failed = []

    def vote(number):
        try:
            for i in range(10):
                assert add(votes, a_score(rater=f"r{number}", image=f"{i}"))
                assert not add(votes, a_score(rater=f"r{number}", image=f"{i}"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=vote, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(votes.scores("c1")) == 120


SERVER = """
import sys
from pathlib import Path
from serving.opinions.votes import Votes
from sr_core.evaluate.opinions import Score
votes = Votes(path=Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    vote = Score(rater=sys.argv[2], test_set="set", image=str(i), model="m", score=3)
    votes.add_score(vote, comparison="c1", weights="")
    print(i, flush=True)
"""


def serve(path, rater, num):
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path), rater, str(num)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_server_loses_no_vote_that_was_answered(votes):
    server = serve(votes.path, "r1", 100_000)
    answered = [int(server.stdout.readline()) for _ in range(40)]
    os.kill(server.pid, signal.SIGKILL)
    answered += [int(line) for line in server.stdout.read().splitlines()]
    server.wait()
    server.stdout.close()
    stored = {int(vote.image) for vote in votes.scores("c1")}
    assert stored >= set(answered)
    assert len(stored) <= len(answered) + 1  # the one that was on its way
    assert add(votes, a_score(rater="after"))


def test_two_servers_on_one_file(votes):
    servers = [serve(votes.path, rater, 60) for rater in ("one", "two")]
    for server in servers:
        server.communicate()
        assert server.returncode == 0
    assert len(votes.scores("c1")) == 120
