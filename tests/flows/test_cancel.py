"""A cancelled run takes Ray and every worker with it."""

import time

import numpy as np
import pytest
from processes import wait_until

from sr_core.data.images import write_png
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
    assert deployed.ask("flow_runs/filter", flow_runs={"tags": {"all_": [f"resubmitted:{run}"]}}) == []
    assert checkpoint.newest(run_dir / "checkpoints").manifest.step > 0
    assert not list(run_dir.glob("launch-*"))


@pytest.mark.slow  # test_shard_tasks.py interrupts a build without Prefect
@pytest.mark.timeout(300)
def test_cancelling_the_preparation_of_data_ends_ray_and_what_is_written_stays(deployed, tmp_path):
    random = np.random.default_rng(0)
    for i in range(60):
        write_png(tmp_path / "photographs" / f"{i}.png", random.integers(0, 256, (600, 600, 3), dtype=np.uint8))
    overrides = [f"data.folder={tmp_path}/photographs", f"data.root={tmp_path}/data", "data.shard_bytes=1"]
    run = deployed.run("prepare-data/prepare-data", *overrides)
    wait_until(lambda: list((tmp_path / "data" / "shards").rglob("*.npy")), 120, "the first shard")
    deployed.prefect("flow-run", "cancel", run)
    cancelled = time.monotonic()
    wait_until(lambda: not [line for line in deployed.running().values() if "ray" in line], 60, "Ray to end")
    assert time.monotonic() - cancelled < CANCEL_S
    wait_until(lambda: deployed.state(run) == "Cancelled", 30, "Prefect to know")
    wait_until(lambda: not deployed.running(), 30, "the flow to end")
    written = len(list((tmp_path / "data" / "shards").rglob("*.npy")))
    assert 0 < written < 2 * 60

    again = deployed.run("prepare-data/prepare-data", *overrides)
    wait_until(lambda: deployed.state(again) == "Completed", 120, "the second run")
    deployed.log_with(again, "data version")
