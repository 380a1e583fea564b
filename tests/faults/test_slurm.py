"""The Slurm example as it is shipped, with `srun` and `scontrol` of our own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launched import ROOT, fresh_run, run_dir

from sr_core.train import checkpoint

SCRIPT = ROOT / "deploy" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [ "$1 $2" = "show hostnames" ]; then echo localhost; echo other; else echo "$@" >> "$SR_TESTS_SCONTROL"; fi
"""


def test_slurm_is_told_when_to_warn_and_that_the_job_may_start_again():
    found = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.MULTILINE))
    lines = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert len(found) == len(lines)
    assert found["signal"] == "B:TERM@120"
    assert found["ntasks-per-node"] == "1"
    assert found["open-mode"] == "append"
    assert "requeue" in found
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0


@pytest.fixture
def job(shards, tmp_path):
    """A function that starts the job with the right arguments, and the file of what `scontrol` was told."""
    root, arguments = fresh_run(
        shards, tmp_path, ["train.steps=24", "train.checkpoint_every=100", "train.log_every=4", "train.eval_every=100"]
    )
    told = tmp_path / "scontrol.txt"
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "localhost"}
    variables = {**os.environ, **slurm, "PATH": path, "SR_TESTS_SCONTROL": str(told)}

    def start():
        return subprocess.Popen(
            ["bash", SCRIPT, *arguments],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start, root, told


@pytest.mark.timeout(240)
def test_a_job_that_slurm_warns_is_put_back_into_the_queue_and_goes_on(job):
    start, root, told = job
    with start() as process:
        for line in process.stdout:
            if line.startswith("step 4/"):
                process.send_signal(signal.SIGTERM)
                break
        said = process.stdout.read()
        assert process.wait() == 75, said
    (found,) = re.findall(r"stopped at step (\d+), checkpoint written", said)
    assert checkpoint.newest(run_dir(root) / "checkpoints").manifest.step == int(found) < 24
    assert told.read_text() == f"requeue {os.getpid()}\n"
    with start() as process:
        said = process.stdout.read()
        assert process.wait() == 0, said
    assert "goes on from" in said
    assert checkpoint.newest(run_dir(root) / "checkpoints").manifest.step == 24
    assert told.read_text().count("requeue") == 1
