"""Raters simulated from known strengths: the order is found, and 95 % intervals hold the truth in about 95 %."""

import dataclasses

import numpy as np
import opinions
import pytest

from sr_core.evaluate.opinions import summarise


def test_intervals_hold_the_truth_and_the_order_is_found():
    held = opinions.simulate(60, 12)  # 360 intervals each; those of one trial go together
    assert 0.89 <= held.means <= 0.99
    assert 0.89 <= held.strengths <= 0.99
    assert min(held.order_of_means, held.order_of_strengths) >= 0.75


@pytest.mark.slow
def test_intervals_hold_the_truth_in_many_trials():
    held = opinions.simulate(1000, 26)
    assert 0.93 <= held.means <= 0.965
    assert 0.93 <= held.strengths <= 0.965
    assert min(held.order_of_means, held.order_of_strengths) >= 0.9


def test_intervals_that_took_votes_for_raters_would_not(monkeypatch):
    """The test above can fail: with every vote a rater of its own, intervals hold the truth far too rarely."""

    def alone(votes):
        return [dataclasses.replace(vote, rater=f"{i}") for i, vote in enumerate(votes)]

    monkeypatch.setattr(opinions, "summarise", lambda scores, pairs: summarise(alone(scores), alone(pairs)))
    assert opinions.simulate(30, 12).means < 0.8


def test_ties_of_the_simulation_leave_the_expected_share():
    rng = np.random.default_rng(1)
    worth = {"left": 1.0, "tie": 0.5, "right": 0.0}
    for ahead in (-2.0, 0.0, 0.7):
        answers = [opinions.choose(rng, ahead) for _ in range(20_000)]
        assert np.mean([worth[each] for each in answers]) == pytest.approx(1 / (1 + np.exp(-ahead)), abs=0.012)
        assert "tie" in answers
