"""One loop, three launchers, and what a SIGKILL leaves: the sample profile as it is shipped, 60 steps of it.

Digests are those of the last checkpoint's tensors. They are equal within one process and its resume, and within two
processes however they were launched and interrupted: two ranks sum in another order than one.
"""

import signal
import subprocess

import pytest
from launched import ONE, RAY, ROOT, TORCHRUN, TWO, complete, digest, fresh_run, kill_rank_0_after, run_dir, start

from sr_core.train import checkpoint

STEPS = 60
OVERRIDES = [f"train.steps={STEPS}", "train.checkpoint_every=10", "train.log_every=10"]
ON_ONE_RANK = """
import os, sys
from torch.nn.functional import l1_loss
from sr_core.__main__ import main
from sr_core.train import step

calls = []
def poisoned(sr, hr, _peak):
    calls.append(0)
    return l1_loss(sr, hr) * (float("nan") if os.environ["RANK"] == "1" and len(calls) == 25 else 1.0)
step.LOSSES["l1"] = poisoned
sys.exit(main())
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def job(shards, tmp_path_factory):
    """A function that makes the arguments of a fresh run on the same shards."""
    return lambda: fresh_run(shards, tmp_path_factory.mktemp("run"), OVERRIDES)


@pytest.fixture(scope="module")
def one(job):
    return digest(complete(ONE, *job()), STEPS)


@pytest.fixture(scope="module")
def two(job):
    return digest(complete(TWO, *job()), STEPS)


@pytest.mark.slow  # test_points.py kills a smaller network
def test_one_process_killed_and_relaunched_ends_with_the_same_weights(one, job):
    root, arguments = job()
    with start(ONE, root, arguments) as process:
        kill_rank_0_after(process, root, 20)
        assert process.wait() == -signal.SIGKILL
    assert digest(complete(ONE, root, arguments), STEPS) == one


@pytest.mark.slow  # as above
def test_torchrun_with_a_killed_rank_relaunched_ends_with_the_same_weights(two, job):
    root, arguments = job()
    with start(TWO, root, arguments) as process:
        kill_rank_0_after(process, root, 20)
        process.stdout.read()
        assert process.wait() != 0
    assert digest(complete(TWO, root, arguments), STEPS) == two


def test_ray_trains_the_same_weights_as_torchrun(two, job):
    assert digest(complete(RAY, *job()), STEPS) == two


def test_ray_with_a_killed_worker_goes_on_by_itself_to_the_same_weights(two, job):
    root, arguments = job()
    with start(RAY, root, arguments) as process:
        kill_rank_0_after(process, root, 20)
        said = process.stdout.read()
        assert process.wait() == 0, said
    assert "goes on from" in said
    assert digest(root, STEPS) == two


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_writes_a_checkpoint_and_says_how_to_go_on(one, job, number):
    root, arguments = job()
    with start(ONE, root, arguments) as process:
        for line in process.stdout:
            if line.startswith("step 10/"):
                process.send_signal(number)
                break
        said = process.stdout.read()
        assert process.wait() == 75
    assert "checkpoint written; the same command goes on" in said
    assert digest(complete(ONE, root, arguments), STEPS) == one


def test_a_second_launch_is_refused_naming_the_first(job):
    root, arguments = job()
    with start(ONE, root, arguments) as process:
        for line in process.stdout:
            if line.startswith("step 10/"):
                break
        second = subprocess.run([*ONE, *arguments], cwd=ROOT, capture_output=True, text=True)
        process.kill()
    assert second.returncode == 7
    assert f"in use by process {process.pid} on host" in second.stderr
    assert second.stderr.count("\n") == 1


def test_nan_on_one_rank_ends_all_of_them_before_the_update(job, tmp_path):
    root, arguments = job()
    script = tmp_path / "poisoned.py"
    script.write_text(ON_ONE_RANK)
    done = subprocess.run([*TORCHRUN, script, "train", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "train: step 25: loss or gradient is NaN or infinite on rank 1, expected finite numbers" in done.stderr
    assert checkpoint.newest(run_dir(root) / "checkpoints").manifest.step == 20
