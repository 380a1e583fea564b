"""Mean opinion scores and Bradley-Terry strengths: published and hand-made figures, and what cannot be told."""

import itertools
import math

import numpy as np
import pytest

from sr_core.errors import SrError
from sr_core.evaluate import bradley_terry
from sr_core.evaluate.bradley_terry import Meeting
from sr_core.evaluate.opinions import Pair, Score, mean_opinions, summarise
from sr_core.evaluate.student import interval_factor

# games of the American League's East in 1987, row against column (Agresti, Categorical Data Analysis, table 11.10)
TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
WON = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ],
    float,
)
# of R's BradleyTerry2 (Turner and Firth 2012, section 2.2), relative to Baltimore: estimate, standard error
PUBLISHED = {
    "Boston": (1.1077, 0.3339),
    "Cleveland": (0.6839, 0.3319),
    "Detroit": (1.4364, 0.3396),
    "Milwaukee": (1.5814, 0.3433),
    "New York": (1.2476, 0.3359),
    "Toronto": (1.2945, 0.3367),
}


def scored(rater, image, model, score, test_set="set"):
    return Score(rater=rater, test_set=test_set, image=image, model=model, score=score)


def seen(rater, left, choice, right, image="a", test_set="set"):
    return Pair(rater=rater, test_set=test_set, image=image, left=left, right=right, choice=choice)


def met(one, other, share=1.0, rater="r"):
    return Meeting(rater=rater, one=one, other=other, share=share)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 25, 26, 100, 1001])
def test_students_t_is_scipys(degrees):
    stats = pytest.importorskip("scipy.stats")
    assert interval_factor(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)
    assert interval_factor(degrees, 0.9) == pytest.approx(stats.t.ppf(0.95, degrees), rel=1e-9)


def test_the_interval_is_students_of_the_raters_means():
    stats = pytest.importorskip("scipy.stats")
    means = {"r1": (4, 5), "r2": (3, 3), "r3": (4, 3), "r4": (2, 4)}  # scores of images a and b
    votes = [
        scored(rater, image, "m", score) for rater, own in means.items() for image, score in zip("ab", own, strict=True)
    ]
    found = mean_opinions(votes)[0]
    of_raters = [np.mean(own) for own in means.values()]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(of_raters), scale=stats.sem(of_raters))
    assert (found.mean, found.low, found.high) == pytest.approx((3.5, low, high))
    assert (found.num_votes, found.num_raters, found.num_images) == (8, 4, 2)
    assert found.describe() == f"3.50 ± {high - 3.5:.2f}"


def test_many_votes_of_one_rater_are_not_many_raters():
    once = [scored(f"r{i}", "a", "m", score) for i, score in enumerate((2, 3, 4))]
    often = [scored(vote.rater, f"image {k}", "m", vote.score) for vote in once for k in range(50)]
    short, long = mean_opinions(once)[0], mean_opinions(often)[0]
    assert long.high - long.low == pytest.approx(short.high - short.low)


def test_an_interval_ends_where_the_scale_does():
    found = mean_opinions([scored("r1", "a", "m", 5), scored("r2", "a", "m", 3), scored("r3", "a", "m", 5)])[0]
    assert found.high == 5
    assert found.low > 1
    assert found.describe().startswith("4.33 (")


def test_no_interval_is_made_up():
    votes = [scored("r1", "a", "alone", 4), *(scored(f"r{i}", "a", "alike", 5) for i in range(9))]
    (said,) = summarise(votes, [])
    assert {each.model: (each.mean, each.low, each.high) for each in said.means} == {
        "alone": (4, None, None),
        "alike": (5, None, None),
    }
    assert [remark.partition(":")[0] for remark in said.remarks] == ["alone", "alike"]


@pytest.mark.parametrize("score", [0, 6, -1, 3.5, 4.0, True, None, "4"])
def test_a_score_is_one_of_five(score):
    with pytest.raises(SrError, match="expected a whole number from 1"):
        scored("r", "a", "m", score)


def test_a_pair_is_of_two_models_and_has_one_of_three_outcomes():
    with pytest.raises(SrError, match="expected one of left, tie, right"):
        seen("r", "a", "both", "b")
    with pytest.raises(SrError, match="expected two models"):
        seen("r", "a", "left", "a")


def test_strengths_and_information_are_the_published_ones():
    strength = bradley_terry.fit(WON)
    information = bradley_terry.information(WON + WON.T, strength)
    errors = np.sqrt(np.diag(np.linalg.inv(information[:-1, :-1])))  # with Baltimore's strength held
    for name, (estimate, error) in PUBLISHED.items():
        i = TEAMS.index(name)
        assert strength[i] - strength[-1] == pytest.approx(estimate, abs=5e-5), name
        assert errors[i] == pytest.approx(error, abs=5e-5), name
    assert strength.sum() == pytest.approx(0, abs=1e-12)


def hunters(won, rounds=20_000):
    """Hunter 2004, equation 3: the MM update of strengths themselves."""
    met, gamma = won + won.T, np.ones(len(won))
    for _ in range(rounds):
        gamma = won.sum(axis=1) / (met / (gamma[:, None] + gamma[None, :])).sum(axis=1)
        gamma /= gamma.sum()
    return np.log(gamma) - np.log(gamma).mean()


def test_newton_finds_what_hunters_updates_find():
    rng = np.random.default_rng(1)
    for size in (2, 3, 8):
        won = rng.integers(0, 20, (size, size)) / 2  # with ties
        np.fill_diagonal(won, 0)
        won += np.roll(np.eye(size), 1, axis=1) * 0.5  # a chain through all
        won += won.T * 0.01
        np.testing.assert_allclose(bradley_terry.fit(won), hunters(won), atol=1e-7)


def test_newton_does_not_overshoot_far_from_the_start():
    won = np.array([[0, 1e6, 1e6], [1, 0, 1e6], [1, 1, 0]])
    strength = bradley_terry.fit(won)  # where Hunter's updates have not arrived after 20,000 rounds
    expected = ((won + won.T) / (1 + np.exp(strength[None, :] - strength[:, None]))).sum(axis=1)
    np.testing.assert_allclose(expected, won.sum(axis=1), rtol=1e-9)
    assert bradley_terry.fit(np.array([[0.0, 3.0], [1.0, 0.0]])) == pytest.approx([math.log(3) / 2, -math.log(3) / 2])


def test_newton_arrives_however_uneven_the_counts_are():
    """Chains of six orders of magnitude, where plain Newton overshoots to where the information is nothing."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        size = int(rng.integers(3, 9))
        won = np.zeros((size, size))
        for i in range(size):
            won[i, (i + 1) % size] += 10 ** rng.uniform(-1, 5)
            one, other = rng.choice(size, 2, replace=False)
            won[one, other] += 10 ** rng.uniform(-1, 6)
        strength = bradley_terry.fit(won)
        expected = ((won + won.T) / (1 + np.exp(strength[None, :] - strength[:, None]))).sum(axis=1)
        np.testing.assert_allclose(expected, won.sum(axis=1), atol=1e-9 * won.sum())


def test_a_tie_is_half_a_win_for_both():
    votes = [seen("r1", "a", "left", "b"), seen("r1", "b", "tie", "a", "b"), seen("r2", "a", "tie", "b")]
    (said,) = summarise([], votes)
    best = said.strengths[0]
    assert (best.model, best.wins, best.ties, best.losses) == ("a", 1, 2, 0)
    assert best.share == pytest.approx(2 / 3)
    assert best.strength == pytest.approx(math.log(2) / 2)  # a share of 2/3 is twice as strong


def test_left_and_right_are_read_as_they_stood():
    mirrored = {"left": "right", "right": "left", "tie": "tie"}
    votes = [seen(f"r{i}", "a", choice, "b", f"{i}") for i, choice in enumerate(["left", "left", "right", "tie"])]
    other = [seen(v.rater, v.right, mirrored[v.choice], v.left, v.image) for v in votes]
    assert summarise([], votes) == summarise([], other)


def test_who_won_everything_has_no_strength_but_a_sentence():
    meetings = [met("best", "a"), met("best", "b"), met("a", "b"), met("b", "a"), met("a", "b")]
    rows, remarks = bradley_terry.strengths(meetings)
    assert [(row.model, row.strength is None, row.group) for row in rows] == [
        ("best", True, 0),
        ("a", False, 1),
        ("b", False, 1),
    ]
    assert rows[1].strength == pytest.approx(math.log(2) / 2)
    assert remarks[0] == "best won all 2 pairs against a, b: no finite strength lies between them"
    assert rows[0].describe() == "-"


def test_who_lost_everything_has_none_either():
    rows, remarks = bradley_terry.strengths([met("a", "b"), met("b", "a"), met("a", "worst")])
    assert rows[-1].model == "worst"
    assert rows[-1].strength is None
    assert "a, b won the only pair against worst" in remarks[0]


def test_models_that_never_met_are_said():
    meetings = [met("a", "b"), met("b", "a"), met("c", "d"), met("d", "c")]
    rows, remarks = bradley_terry.strengths(meetings)
    assert {row.model: row.group for row in rows} == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert "never compared, not even through others: a, b | c, d" in remarks


def test_every_strength_is_finite_or_none():
    """All outcomes of three pairs among three models."""
    for outcome in itertools.product((1.0, 0.5, 0.0), repeat=3):
        pairs = zip(itertools.combinations("abc", 2), outcome, strict=True)
        rows, remarks = bradley_terry.strengths([met(one, other, share) for (one, other), share in pairs])
        assert all(row.strength is None or abs(row.strength) < 10 for row in rows)
        assert all(row.strength is not None for row in rows) or any("no finite strength" in each for each in remarks)


def test_an_interval_is_over_raters_and_not_over_votes():
    def votes(copies):
        return [
            met("a", "b", share, rater=f"r{i}") for i, share in enumerate([1, 1, 0, 0.5, 1, 0]) for _ in range(copies)
        ]

    (once, *_), (often, *_) = bradley_terry.strengths(votes(1))[0], bradley_terry.strengths(votes(9))[0]
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert once.low < once.strength < once.high


def test_one_raters_pairs_have_no_interval():
    rows, remarks = bradley_terry.strengths([met("a", "b"), met("b", "a")])
    assert {(row.low, row.high) for row in rows} == {(None, None)}
    assert any("by one rater alone" in remark for remark in remarks)


def test_a_rater_who_alone_joins_the_models_leaves_no_interval():
    rows, remarks = bradley_terry.strengths([met("a", "b"), met("a", "b", rater="q"), met("b", "a", rater="q")])
    rows_of_one, said = bradley_terry.strengths(
        [met("a", "b"), met("b", "a"), met("b", "c", rater="q"), met("c", "b", rater="q")]
    )
    assert all(row.low is not None for row in rows)
    assert remarks == ()
    assert all(row.low is None and row.strength is not None for row in rows_of_one)
    assert any("without one of the raters" in remark for remark in said)


def test_test_sets_are_kept_apart():
    votes = [scored("r1", "a", "m", 1, "x"), scored("r2", "a", "m", 5, "y")]
    both = summarise(votes, [seen("r3", "m", "left", "n", test_set="y")])
    assert [(each.test_set, each.mean("m").mean, each.num_raters) for each in both] == [("x", 1, 1), ("y", 5, 2)]
    assert both[0].mean("n") is None
    assert both[0].strength("m") is None
    assert both[1].strength("m").wins == 1


def test_without_votes_there_is_nothing():
    assert summarise([], []) == ()
