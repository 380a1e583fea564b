"""SIGKILL at every fault point under every launcher; benchmarks/kills.py prints the whole table."""

import kills
import pytest

from sr_core.faults import POINTS

pytestmark = pytest.mark.timeout(kills.LIMIT_S * 2)

SAMPLE = {"one": POINTS, "torchrun": ("backward", "save_manifest"), "ray": ("import",)}
# rank 1 of two has no part in saving
OF_RANK_1 = [("torchrun", "group_open"), ("torchrun", "optimizer"), ("ray", "forward")]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return kills.Job(tmp_path_factory.mktemp("kills"))


@pytest.fixture(scope="module")
def whole(job):
    """How the undisturbed run ends under a launcher; each runs when it is first needed."""
    ends = {}

    def of(launcher):
        if launcher not in ends:
            ends[launcher] = job.whole(launcher)
            assert ends[launcher].step == kills.STEPS
        return ends[launcher]

    return of


def check(outcome, whole):
    assert outcome.reached
    assert not outcome.failed, outcome.failed
    assert outcome.end == whole
    assert outcome.recovered(whole)


CASES = [
    pytest.param(launcher, point, marks=() if point in SAMPLE[launcher] else pytest.mark.slow)
    for launcher in kills.LAUNCHERS
    for point in POINTS
]


@pytest.mark.parametrize(("launcher", "point"), CASES)
def test_killed_at_any_point_it_ends_with_the_same_weights(job, whole, launcher, point):
    check(job.killed(launcher, point), whole(launcher))


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "point"), OF_RANK_1)
def test_whichever_rank_is_killed(job, whole, launcher, point):
    check(job.killed(launcher, point, rank=1), whole(launcher))


def test_two_ranks_train_the_same_whoever_launched_them(whole):
    assert whole("ray") == whole("torchrun")


def test_a_kill_that_did_not_happen_is_no_recovery(whole):
    end = whole("one")
    assert not kills.Outcome(reached=False, failed="", end=end, seconds=0.0).recovered(end)
