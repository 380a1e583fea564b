"""A cancelled run takes Ray and every worker with it."""

import time

import pytest
from processes import wait_until

from sr_core.train import checkpoint

CANCEL_S = 15.0
RAY = ("flows.launch --child", "gcs_server", "raylet", "ray::")


@pytest.mark.timeout(300)
def test_cancelling_a_run_ends_ray_and_every_worker(deployed):
    before = deployed.run_dirs()
    run = deployed.run("train-edsr/train-edsr", "train.steps=1000000")

    def started():
        return [one for one in deployed.run_dirs() - before if checkpoint.newest(one / "checkpoints").path]

    def of_ray():
        return [line for line in deployed.running().values() if any(name in line for name in RAY)]

    (run_dir,) = wait_until(started, 200, "training to start")
    assert all(any(name in line for line in of_ray()) for name in RAY)
    deployed.prefect("flow-run", "cancel", run)
    cancelled = time.monotonic()
    wait_until(lambda: not of_ray(), 60, "Ray to end")
    took_s = time.monotonic() - cancelled
    assert took_s < CANCEL_S
    wait_until(lambda: deployed.state(run) == "Cancelled", 30, "Prefect to know")
    wait_until(lambda: not deployed.running(), 30, "the flow to end")
    assert checkpoint.newest(run_dir / "checkpoints").manifest.step > 0
    assert not list(run_dir.glob("launch-*"))
