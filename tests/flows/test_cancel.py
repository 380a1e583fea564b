"""A cancelled run takes Ray and every worker with it."""

import time

import pytest
from processes import wait_until

from sr_core.train import checkpoint

CANCEL_S = 15.0


@pytest.mark.timeout(300)
def test_cancelling_a_run_ends_ray_and_every_worker(deployed):
    before = set((deployed.folder / "data").glob("runs/*"))
    run = deployed.run("train-edsr/train-edsr", "train.steps=1000000")

    def new_logs():
        return [path for path in (deployed.folder / "data").glob("runs/*/metrics.jsonl") if path.parent not in before]

    (log,) = wait_until(lambda: [path for path in new_logs() if path.stat().st_size], 200, "training to start")
    programs = " ".join(deployed.running().values())
    assert all(name in programs for name in ("flows.launch --child", "gcs_server", "raylet", "ray::RayTrainWorker"))
    asked = time.monotonic()
    deployed.prefect("flow-run", "cancel", run)
    wait_until(lambda: not deployed.running(), CANCEL_S, "Ray to end")
    assert time.monotonic() - asked < CANCEL_S
    wait_until(lambda: deployed.state(run) == "Cancelled", 10, "Prefect to know")
    assert checkpoint.newest(log.parent / "checkpoints").manifest is not None
    assert not list(log.parent.glob("launch-*"))
