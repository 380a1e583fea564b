"""A preempted flow run leaves another one behind, which ends with the weights of a run that nobody disturbed."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import made
import pytest
from deployed import environment
from processes import wait_until

from flows import resubmit
from flows import train as train_flow
from sr_core.errors import SrError
from sr_core.train import checkpoint

STEPS = 1500
DEPLOYMENT = "train-edsr/train-edsr"


def digest(run_dir):
    manifest = checkpoint.newest(run_dir / "checkpoints").manifest
    return manifest.step, manifest.files[checkpoint.STATE].sha256


def preempt(deployed, run):
    """Sends SIGTERM to the flow's process, and waits for the end of its run."""
    (flow,) = [pid for pid, line in deployed.running().items() if "prefect.engine" in line]
    os.kill(flow, signal.SIGTERM)
    wait_until(lambda: deployed.state(run) in {"Failed", "Crashed"}, 90, "the flow run to end")


def resubmitted(deployed, run):
    """The runs that go on with `run`."""
    return deployed.ask("flow_runs/filter", flow_runs={"tags": {"all_": [f"resubmitted:{run}"]}})


@pytest.mark.timeout(300)
def test_a_preempted_flow_run_is_resubmitted_and_a_cancelled_one_is_not(deployed):
    run = deployed.run(DEPLOYMENT, "train.steps=1000000", "seed=7")
    wait_until(lambda: "starting Ray" in deployed.log(run), 200, "Ray to be started")
    preempt(deployed, run)
    (new,) = resubmitted(deployed, run)
    deployed.log_with(run, f"this flow run was preempted: flow run {new['name']} ({new['id']}) goes on")
    assert new["parameters"] == deployed.ask(f"flow_runs/{run}", method="GET")["parameters"]
    assert "resubmissions:1" in new["tags"]
    deployed.prefect("flow-run", "cancel", new["id"])
    wait_until(lambda: deployed.state(new["id"]) == "Cancelled", 60, "the new run to be cancelled")
    assert resubmitted(deployed, new["id"]) == []
    wait_until(lambda: not deployed.running(), 30, "everything to end")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_resubmitted_run_ends_with_the_weights_of_an_undisturbed_one(deployed, tmp_path):
    before = deployed.run_dirs()
    overrides = (f"train.steps={STEPS}", "seed=8")
    run = deployed.run(DEPLOYMENT, *overrides)

    def started():
        return [one for one in deployed.run_dirs() - before if checkpoint.newest(one / "checkpoints").path]

    (run_dir,) = wait_until(started, 300, "training to start")
    preempt(deployed, run)
    step = checkpoint.newest(run_dir / "checkpoints").manifest.step
    assert step < STEPS
    deployed.log_with(run, f"stopped at step {step}, checkpoint written; this flow run was preempted")
    (new,) = resubmitted(deployed, run)
    wait_until(lambda: deployed.state(new["id"]) in {"Completed", "Failed", "Crashed"}, 300, "the new run to end")
    assert deployed.state(new["id"]) == "Completed", deployed.log(new["id"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").symlink_to(deployed.folder / "data" / "shards")
    given = [word for each in (*overrides, "model.name=edsr", f"data.root={tmp_path}/data") for word in ("--set", each)]
    command = [sys.executable, "-m", "flows.launch", *given]
    done = subprocess.run(command, cwd=deployed.folder, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (undisturbed,) = (tmp_path / "data" / "runs").iterdir()
    assert digest(run_dir) == digest(undisturbed)


@pytest.fixture
def launches(monkeypatch):
    """`flows.train._launch` with launches that end as listed: at which step, and whether stopped."""
    said = []

    def run(params, *ends):
        results = iter([SimpleNamespace(step=step, stopped=stopped) for step, stopped in ends])
        monkeypatch.setattr(train_flow, "launch", lambda *_args, **_kwargs: next(results))
        train_flow._launch(params, params.data.root, said.append)
        return said

    return run


def test_preempted_ranks_are_launched_again_as_often_as_allowed(launches, tmp_path):
    params = made.params(tmp_path, launch={"max_preemptions": 2})
    said = launches(params, (3, True), (5, True), (9, False))
    assert said == [
        f"a worker was preempted at step {step}, checkpoint written; training is launched again" for step in (3, 5)
    ]
    with pytest.raises(SrError, match=r"preempted 3 times.*max_preemptions.*goes on from step 7"):
        launches(params, (3, True), (5, True), (7, True))


def test_the_tags_count_how_often_a_run_was_resubmitted():
    assert resubmit._count([]) == 0
    assert resubmit._count(["mine", "resubmitted:1-2-3", "resubmissions:4"]) == 4
