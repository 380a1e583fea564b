"""SIGTERM and SIGINT under every launcher: a checkpoint within one step, exit code 75, and how to go on."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from launched import ONE, RAY, ROOT, TORCHRUN, fresh_run, run_dir, start

from sr_core.train import checkpoint

WRAPPED = [sys.executable, "-m", "sr_core.torchrun", "--standalone", "--nproc-per-node", "2"]
TRAIN = ["-m", "sr_core", "train"]
SENTENCE = r"stopped at step (\d+), checkpoint written; the same command goes on from there"
OVERRIDES = ["train.steps=400", "train.checkpoint_every=1000", "train.log_every=4", "train.eval_every=1000"]
# steps of a second, each of them printed
SLOW = """
import sys, time
from sr_core.__main__ import main
from sr_core.train.loop import _Loop

after = _Loop._after_step
def _after_step(self):
    time.sleep(1)
    print(f"did {self._state.step}", flush=True)
    return after(self)
_Loop._after_step = _after_step
sys.exit(main())
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def job(shards, tmp_path):
    """A fresh run's folder and arguments."""
    return fresh_run(shards, tmp_path, OVERRIDES)


def training(command, root, arguments):
    """The started command, once it has trained some steps."""
    process = start(command, root, arguments)
    for line in process.stdout:
        if line.startswith("step 4/"):
            return process
    raise AssertionError(f"ended with {process.wait()}")


def ends_with_75(process, root):
    """Its last line names the newest checkpoint's step, and nothing else is said."""
    with process:
        said = process.stdout.read()
        assert process.wait() == 75, said
    (step,) = re.findall(SENTENCE, said)
    assert re.search(SENTENCE, said.strip().splitlines()[-1])
    assert "Traceback" not in said
    assert checkpoint.newest(run_dir(root) / "checkpoints").manifest.step == int(step)


def ranks_of(process):
    """The processes that it started."""
    listed = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def test_one_process_stops_after_the_step_it_is_at(job, tmp_path):
    root, arguments = job
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    process = start([sys.executable, script, "train"], root, arguments)
    for line in process.stdout:
        if line.startswith("did 3"):
            break
    process.send_signal(signal.SIGTERM)
    ends_with_75(process, root)
    assert checkpoint.newest(run_dir(root) / "checkpoints").manifest.step <= 5  # 4 was under way


def test_a_second_sigint_interrupts_at_once(job):
    root, arguments = job
    process = training(ONE, root, arguments)
    process.send_signal(signal.SIGSTOP)
    for number in (signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    with process:
        said = process.stdout.read()
        assert process.wait() in {75, 130}, said  # 75 where the step was over before


@pytest.mark.parametrize("to_rank", [None, 1], ids=["to torchrun", "to one rank"])
def test_our_torchrun_hands_the_signal_on_and_the_exit_code_back(job, to_rank):
    root, arguments = job
    process = training([*WRAPPED, *TRAIN], root, arguments)
    os.kill(process.pid if to_rank is None else ranks_of(process)[to_rank], signal.SIGTERM)
    ends_with_75(process, root)


def test_our_torchrun_says_a_sentence_once_and_returns_its_exit_code(job):
    root, arguments = job
    (root / "shards").unlink()
    done = subprocess.run([*WRAPPED, *TRAIN, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 4
    assert done.stderr.startswith("train: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_torchrun_itself_leaves_a_checkpoint_too(job):
    root, arguments = job
    process = training([*TORCHRUN, *TRAIN], root, arguments)
    process.send_signal(signal.SIGTERM)
    with process:
        said = process.stdout.read()
        assert process.wait() == 1, said
    (step,) = re.findall(SENTENCE, said)
    assert checkpoint.newest(run_dir(root) / "checkpoints").manifest.step == int(step)


@pytest.mark.slow
def test_our_torchrun_starts_no_group_again_that_was_asked_to_stop(job):
    root, arguments = job
    process = training([*WRAPPED, "--max-restarts", "2", *TRAIN], root, arguments)
    os.kill(ranks_of(process)[0], signal.SIGINT)
    ends_with_75(process, root)


def worker_of(process):
    """One of the Ray workers that it has in its child's session."""
    (driver,) = ranks_of(process)
    listed = subprocess.run(["ps", "-s", str(driver), "-o", "pid=,args="], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "ray::RayTrainWorker" in line][-1]


@pytest.mark.parametrize(
    "target",
    [
        lambda process: process.pid,
        pytest.param(lambda process: ranks_of(process)[0], marks=pytest.mark.slow),
        pytest.param(worker_of, marks=pytest.mark.slow),
    ],
    ids=["launcher", "driver", "worker"],
)
def test_ray_stops_whichever_of_its_processes_is_asked(job, target):
    root, arguments = job
    process = training(RAY, root, arguments)
    os.kill(target(process), signal.SIGTERM)
    ends_with_75(process, root)
