"""What the vote page is answered: blind, the same after a reload, and a sentence for every bad request."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import voting
from PIL import Image

from serving.opinions import handler as handler_module
from serving.opinions.handler import Handler
from serving.opinions.stimuli import Comparisons, Stimuli
from serving.opinions.votes import Votes
from sr_core.errors import SrError

ANN, BOB = "a" * 32, "b" * 32


@pytest.fixture
def place(tmp_path):
    voting.comparison(tmp_path / "compare")
    return tmp_path


@pytest.fixture
def handler(place):
    return Handler(place / "compare", place / "opinions")


def ask(handler, do, rater=ANN, **more):
    return handler.answer({"do": do, "rater": rater, **more})


def vote(handler, answer, given, kind="scores", rater=ANN):
    return ask(handler, "vote", rater, kind=kind, token=answer["token"], answer=given)


def pixels(url):
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data)


def all_answers(handler, kind, given, rater=ANN):
    answers = [ask(handler, "next", rater, kind=kind)]
    while not answers[-1].get("finished"):
        answers.append(vote(handler, answers[-1], given, kind, rater))
        assert "error" not in answers[-1]
    return answers


def test_a_rater_is_asked_for_everything_once(handler, place):
    scores, pairs = all_answers(handler, "scores", 3), all_answers(handler, "pairs", "tie")
    assert [(each["done"], each["of"]) for each in scores] == [(i, 10) for i in range(11)]  # 2 images, 5 candidates
    assert [each["of"] for each in pairs] == [6] * 7
    votes, digest = Votes(path=place / "opinions" / "mine.db"), Stimuli(place / "compare" / "mine").digest
    stored = votes.scores(digest)
    assert {(vote.image, vote.model) for vote in stored} == {
        (image, model) for image in ("waldo-1", "waldo-2") for model in ("edsr", "srgan", "bicubic", "nearest", "hr")
    }
    assert {vote.rater for vote in stored} == {ANN}
    assert "hr" not in {name for vote in votes.pairs(digest) for name in (vote.left, vote.right)}
    assert ask(handler, "hello")["counts"] == {"scores": {"done": 10, "of": 10}, "pairs": {"done": 6, "of": 6}}
    assert ask(handler, "hello", BOB)["counts"]["scores"]["done"] == 0


def test_what_is_stored_is_what_was_shown(handler, place):
    made = place / "compare" / "mine" / "images" / voting.SETS[0]
    shown = [[pixels(url) for url in each["pictures"]] for each in all_answers(handler, "pairs", "left")[:-1]]
    digest = Stimuli(place / "compare" / "mine").digest
    for sent, vote in zip(shown, Votes(path=place / "opinions" / "mine.db").pairs(digest), strict=True):
        for png, model in zip(sent, (vote.left, vote.right), strict=True):
            expected = np.asarray(Image.open(made / vote.image / f"{model}.png"))
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)  # smaller than a crop: all of it


def test_nothing_that_is_sent_tells_the_model(handler):
    answers = [ask(handler, "hello"), ask(handler, "examples")]
    answers += all_answers(handler, "scores", 3)[:-1] + all_answers(handler, "pairs", "left")[:-1]
    pictures = [pixels(url) for answer in answers for url in answer.get("pictures", ())]
    assert len({len(png) for png in pictures}) == 1
    assert len({Image.open(io.BytesIO(png)).size for png in pictures}) == 1
    for png in pictures:
        assert Image.open(io.BytesIO(png)).info == {}
        assert not any(secret.encode() in png for secret in voting.SECRETS)
    bare = json.dumps([{k: v for k, v in each.items() if k not in {"pictures", "examples"}} for each in answers])
    assert not any(secret in bare for secret in voting.SECRETS)


def test_crops_are_cut_at_one_place_and_nearest_repeats_pixels(tmp_path):
    directory = voting.comparison(tmp_path, images=("a",), side=400)
    stimuli = Stimuli(directory)
    crops = {
        name: np.asarray(Image.open(io.BytesIO(stimuli.shown((voting.SETS[0], "a"), name))))
        for name in stimuli.candidates
    }
    assert {crop.shape for crop in crops.values()} == {(288, 288, 3)}
    whole = np.asarray(Image.open(directory / "images" / voting.SETS[0] / "a" / "hr.png"))
    lr = np.asarray(Image.open(directory / "images" / voting.SETS[0] / "a" / "lr.png"))
    corners = np.lib.stride_tricks.sliding_window_view(whole, (3, 3, 3))[:, :, 0]
    places = np.argwhere((corners == crops["hr"][:3, :3]).all(axis=(2, 3, 4))).tolist()
    ((top, left),) = (at for at in places if np.array_equal(crops["hr"], whole[at[0] :, at[1] :][:288, :288]))
    nearest = np.asarray(Image.fromarray(lr).resize(whole.shape[1::-1], Image.Resampling.NEAREST))
    assert np.array_equal(crops["nearest"], nearest[top : top + 288, left : left + 288])
    middle = np.asarray(Image.open(io.BytesIO(stimuli.example((voting.SETS[0], "a"), "hr"))))
    assert np.array_equal(middle, whole[56:344, 64:352])


def test_a_double_click_counts_once(handler):
    first = ask(handler, "next", kind="scores")
    again = [vote(handler, first, 2), vote(handler, first, 5)]
    assert again[0] == again[1]
    assert ask(handler, "hello")["counts"]["scores"]["done"] == 1


def test_a_reload_or_another_server_goes_on_where_the_rater_was(handler, place):
    after = vote(handler, ask(handler, "next", kind="scores"), 4)
    other = Handler(place / "compare", place / "opinions")
    assert ask(handler, "next", kind="scores") == ask(other, "next", kind="scores") == after


def test_no_more_is_asked_than_the_most(place):
    handler = Handler(place / "compare", place / "opinions", most=3)
    assert [each["of"] for each in all_answers(handler, "scores", 1)] == [3] * 4


def test_results_are_for_whoever_has_voted_and_end_it(handler):
    assert "Results are shown to whoever has voted" in ask(handler, "results")["error"]
    item = vote(handler, ask(handler, "next", kind="scores"), 4)
    said = ask(handler, "results")["results"]
    assert "4.00" in said
    assert "You have seen the results" in vote(handler, item, 5)["error"]
    assert "You have seen the results" in ask(handler, "next", kind="pairs")["error"]
    assert ask(handler, "hello")["informed"]
    assert "error" not in ask(handler, "next", BOB, kind="pairs")


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        "vote",
        {},
        {"do": "drop", "rater": ANN},
        {"do": "hello"},
        {"do": "hello", "rater": "'; DROP TABLE scores; --"},
        {"do": "hello", "rater": "A" * 32},
        {"do": "hello", "rater": 7},
        {"do": "next", "rater": ANN},
        {"do": "next", "rater": ANN, "kind": "../../etc"},
        {"do": "next", "rater": ANN, "kind": ["scores"]},
        {"do": "vote", "rater": ANN, "kind": "scores"},
        {"do": "vote", "rater": ANN, "kind": "scores", "token": "0" * 16 + "-0", "answer": 3},
        {"do": "vote", "rater": ANN, "kind": "scores", "token": {"a": 1}, "answer": 3},
    ],
)
def test_a_bad_request_gets_a_sentence(handler, request_):
    answer = handler.answer(request_)
    assert list(answer) == ["error"]
    assert "expected" in answer["error"] or "reload the page" in answer["error"]


@pytest.mark.parametrize("answer", [0, 6, -1, 2.5, True, "5", None, [5], {"a": 1}, "left", 10**30])
def test_a_score_that_is_none_is_refused(handler, answer):
    item = ask(handler, "next", kind="scores")
    assert "expected a whole number from 1" in vote(handler, item, answer)["error"]
    assert ask(handler, "next", kind="scores") == item


@pytest.mark.parametrize("answer", [1, "LEFT", "", None, ["left"], {"left": 1}, "edsr"])
def test_a_choice_that_is_none_is_refused(handler, answer):
    item = ask(handler, "next", kind="pairs")
    assert "expected one of left, tie, right" in vote(handler, item, answer, "pairs")["error"]
    assert ask(handler, "next", kind="pairs") == item


def test_a_token_is_of_one_rater_and_one_kind(handler):
    item = ask(handler, "next", kind="scores")
    for more in ({"rater": BOB, "kind": "scores"}, {"rater": ANN, "kind": "pairs"}):
        assert "not counted" in handler.answer({"do": "vote", "token": item["token"], "answer": 3, **more})["error"]
    number = item["token"].partition("-")[0] + "-99"
    assert "not counted" in ask(handler, "vote", kind="scores", token=number, answer=3)["error"]


def test_a_comparison_made_anew_is_voted_on_anew(handler, place):
    item = ask(handler, "next", kind="scores")
    vote(handler, item, 4)
    stale = ask(handler, "next", kind="scores")
    shutil.rmtree(place / "compare" / "mine")
    voting.comparison(place / "compare", seed=9)
    assert "The pictures have changed meanwhile" in vote(handler, stale, 5)["error"]
    assert ask(handler, "hello")["counts"]["scores"]["done"] == 0
    assert "token" in vote(handler, ask(handler, "next", kind="scores"), 1)
    held = Votes(path=place / "opinions" / "mine.db").held()
    assert [each.num_scores for each in held] == [1, 1]


def test_the_newest_comparison_is_voted_on_unless_one_is_named(place):
    voting.comparison(place / "compare", "newer", seed=5)
    newest, named = Comparisons(place / "compare"), Comparisons(place / "compare", "mine")
    assert newest.stimuli().directory.name == "newer"
    assert named.stimuli().directory.name == "mine"
    for name in ("absent", "..", "../compare", ""):
        with pytest.raises(SrError, match=r"is no comparison in .*expected one of: mine, newer"):
            Comparisons(place / "compare", name).stimuli()


def test_without_a_comparison_there_is_a_sentence_and_no_file(tmp_path, capsys):
    handler = Handler(tmp_path / "compare", tmp_path / "opinions")
    assert "There is nothing to judge now" in ask(handler, "hello")["error"]
    assert "make one first: sr compare" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_missing_pictures_are_all_named_to_who_runs_it_and_not_to_raters(place, capsys):
    made = place / "compare" / "mine" / "images" / voting.SETS[0]
    (made / "waldo-1" / "edsr.png").unlink()
    (made / "waldo-2" / "hr.png").unlink()
    answer = ask(Handler(place / "compare", place / "opinions"), "hello")
    assert not any(secret in json.dumps(answer) for secret in voting.SECRETS)
    said = capsys.readouterr().err
    assert "waldo-1/edsr.png: missing" in said
    assert "waldo-2/hr.png: missing" in said


def test_pictures_of_other_sizes_are_all_named(place):
    made = place / "compare" / "mine" / "images" / voting.SETS[0]
    voting.save(made / "waldo-1" / "edsr.png", np.zeros((96, 100, 3), np.uint8))
    voting.save(made / "waldo-2" / "lr.png", np.zeros((25, 28, 3), np.uint8))
    with pytest.raises(SrError, match="different sizes") as caught:
        Stimuli(place / "compare" / "mine")
    assert "waldo-1: edsr is 100 x 96" in str(caught.value)
    assert "waldo-2: lr is 28 x 25" in str(caught.value)


def test_an_image_that_cannot_be_decoded_is_left_out(place, capsys):
    damaged = place / "compare" / "mine" / "images" / voting.SETS[0] / "waldo-1" / "srgan.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:1000] + bytes(100) + whole[1100:])
    handler = Handler(place / "compare", place / "opinions")
    answers = all_answers(handler, "scores", 2)
    assert answers[0]["of"] in {5, 10}
    assert (answers[-1]["done"], answers[-1]["of"]) == (5, 5)
    assert capsys.readouterr().err.count("it is left out") == 1


def test_a_picture_that_changed_since_is_not_shown(place, capsys):
    stimuli = Stimuli(place / "compare" / "mine")
    path = place / "compare" / "mine" / "images" / voting.SETS[0] / "waldo-1" / "edsr.png"
    voting.save(path, np.zeros((96, 112, 3), np.uint8))
    with pytest.raises(SrError, match="the comparison has changed since"):
        stimuli.shown((voting.SETS[0], "waldo-1"), "edsr")


def test_votes_that_cannot_be_stored_are_said_and_not_lost_in_silence(handler, place, capsys):
    item = ask(handler, "next", kind="scores")
    (place / "opinions").mkdir()
    (place / "opinions" / "mine.db").write_bytes(b"no database" * 1000)
    assert "cannot be stored" in vote(handler, item, 3)["error"]
    assert "mine.db: the votes cannot be read or written" in capsys.readouterr().err


def test_without_originals_there_is_no_five_to_show(tmp_path):
    directory = voting.comparison(tmp_path / "compare")
    for path in directory.glob("images/*/*/hr.png"):
        path.unlink()
    handler = Handler(tmp_path / "compare", tmp_path / "opinions")
    assert {each["score"] for each in ask(handler, "examples")["examples"]} == {1}
    assert ask(handler, "hello")["counts"]["scores"]["of"] == 8
    assert handler_module.NUM_EXAMPLES == 2
