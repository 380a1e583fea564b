"""A rank that hangs: the others end in one sentence after `train.collective_timeout_s`, and training goes on."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from launched import RAY, ROOT, TWO, complete, digest, fresh_run, run_dir

from sr_core.train import checkpoint

STEPS = 12
OVERRIDES = [f"train.steps={STEPS}", "train.checkpoint_every=2", "train.log_every=2", "train.eval_every=12"]
OVERRIDES += ["train.batch=4", "train.crop=16", "train.eval_images=1", "train.collective_timeout_s=10"]
OVERRIDES += ["train.num_threads=1", "model.options={num_blocks: 1, num_features: 8}"]
SAID = (
    "after step 2: another rank has not answered for 10 s (train.collective_timeout_s): it hangs, or its host is out "
    "of reach; look at that host and end what hangs there; the same command goes on from the last checkpoint"
)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def job(shards, tmp_path):
    return fresh_run(shards, tmp_path, OVERRIDES)


def launched(command, arguments, **environment):
    environment = {**os.environ, "SR_FAULT": "STOP:forward@3#1", **environment}
    return subprocess.Popen(
        [*command, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end_what_hangs(parent):
    """SIGKILLs the stopped children of the process `parent`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, above = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if (state, int(above)) == ("T", parent):
            os.kill(int(stat.parent.name), signal.SIGKILL)


def test_torchruns_other_ranks_say_that_one_hangs_and_the_same_command_goes_on(job):
    with launched(TWO, job[1]) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "has not answered" in line:
                break
        end_what_hangs(process.pid)  # torchrun itself takes 30 s to
        lines.append(process.stdout.read())
        assert process.wait() != 0
    assert f"train: {SAID}\n" in lines, "".join(lines)
    assert checkpoint.newest(run_dir(job[0]) / "checkpoints").manifest.step == 2
    complete(TWO, job[0], [*job[1], "--set", "train.collective_timeout_s=120"])
    assert checkpoint.newest(run_dir(job[0]) / "checkpoints").manifest.step == STEPS


@pytest.mark.slow
def test_ray_ends_the_rank_that_hangs_and_goes_on_by_itself(job, shards, tmp_path):
    with launched(RAY, job[1], SR_FAULT_ONCE=str(tmp_path / "once")) as process:
        said = process.stdout.read()
        assert process.wait() == 0, said
    assert "goes on from" in said, said
    (other := tmp_path / "other").mkdir()
    assert digest(job[0], STEPS) == digest(complete(TWO, *fresh_run(shards, other, OVERRIDES)), STEPS)
