"""A run against a discriminator, small: one loop, three launchers, and what a SIGKILL leaves.

Both networks have batch normalisation, the loss is relativistic and each share is cut in two: every collective that
such a step can have.
"""

import json

import pytest
from launched import ONE, RAY, TWO, complete, digest, fresh_run, kill_rank_0_after, run_dir, start

from sr_core.train import metrics_log

STEPS = 20
VALUES = {
    "model": {"name": "srgan", "preset": "small", "options": {"num_blocks": 1, "num_features": 8}},
    "train": {"steps": STEPS, "batch": 5, "accumulate": 2, "crop": 8, "start": None, "num_threads": 1}
    | {"checkpoint_every": 5, "log_every": 5, "eval_every": 10, "eval_images": 1},
    "adversarial": {"loss": "relativistic", "content": "pixel", "pixel_weight": 0.01}
    | {"discriminator_features": 4, "discriminator_dense": 8},
}
OVERRIDES = [f"{section}.{key}={json.dumps(value)}" for section, of in VALUES.items() for key, value in of.items()]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def job(shards, tmp_path_factory):
    """A function that makes the arguments of a fresh run on the same shards."""
    return lambda: fresh_run(shards, tmp_path_factory.mktemp("run"), OVERRIDES)


@pytest.fixture(scope="module")
def two(job):
    """The run of two ranks under torchrun."""
    return complete(TWO, *job())


def test_one_process_killed_and_relaunched_ends_with_the_same_weights(job):
    whole = digest(complete(ONE, *job()), STEPS)
    root, arguments = job()
    with start(ONE, root, arguments) as process:
        kill_rank_0_after(process, root, 5)
        process.wait()
    assert digest(complete(ONE, root, arguments), STEPS) == whole


def test_torchrun_with_a_killed_rank_relaunched_ends_with_the_same_weights(two, job):
    root, arguments = job()
    with start(TWO, root, arguments) as process:
        kill_rank_0_after(process, root, 5)
        said = process.stdout.read()
        assert process.wait() != 0
    assert "batch normalisation: over each rank's own crops, since SyncBatchNorm needs CUDA" in said
    assert digest(complete(TWO, root, arguments), STEPS) == digest(two, STEPS)


def test_ray_trains_the_same_weights_as_torchrun(two, job):
    assert digest(complete(RAY, *job()), STEPS) == digest(two, STEPS)


def test_the_generator_had_its_adversarial_gradient_at_every_logged_step(two):
    events = [event.values for event in metrics_log.read(run_dir(two)) if "train/loss" in event.values]
    assert len(events) == STEPS // 5
    assert all(values["adversarial/gradient_norm"] > 0 for values in events)
