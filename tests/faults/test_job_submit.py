"""`ray job submit`: the flow's launcher as a job of a running cluster, which finds Ray by RAY_ADDRESS."""

import importlib.util
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import made
import pytest
from launched import ROOT, fresh_run, run_dir
from processes import MARK, alive, wait_until

from flows import cluster
from sr_core.train import checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("aiohttp_cors") is None, reason="needs ray[default] (extra: cluster)"),
]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SMALL = {"model.options": {"num_blocks": 1, "num_features": 8}, "train.steps": 20, "train.batch": 4, "train.crop": 16}
SMALL |= {"train.num_threads": 1, "train.lr_milestones": [], "train.checkpoint_every": 10, "train.eval_images": 1}


def test_a_submitted_job_trains_on_its_cluster(shards, tmp_path, monkeypatch):
    monkeypatch.setenv(MARK, mark := uuid.uuid4().hex)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex + uuid.uuid4().hex)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    gcs, board = made.free_port(), made.free_port()
    size = ["--num-cpus", "2", "--object-store-memory", str(cluster.OBJECT_STORE_BYTES)]
    where = ["--port", str(gcs), "--include-dashboard", "true", "--dashboard-port", str(board)]
    head = [*RAY, "start", "--head", *where, *size, "--block"]
    variables = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    _, arguments = fresh_run(shards, tmp_path, [f"{key}={json.dumps(value)}" for key, value in SMALL.items()])
    job = ["python", "-m", "flows.launch", "--params", f"{ROOT}/params.yaml", *arguments]
    submit = [*RAY, "job", "submit", "--address", f"http://127.0.0.1:{board}", "--", *job]
    with (tmp_path / "ray.log").open("wb") as log, subprocess.Popen(head, env=variables, stdout=log, stderr=log) as ray:
        try:
            done = wait_until(lambda: submitted(submit, variables), 400, "Ray's job server")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "finished: " in done.stdout
            manifest = checkpoint.newest(run_dir(tmp_path) / "checkpoints").manifest
            assert (manifest.step, manifest.world_size) == (20, 2)
        finally:
            ray.terminate()
            ray.wait(60)
            for pid in alive(mark):
                os.kill(pid, 9)


def submitted(command, variables):
    """How the job ended; None while its server is not up."""
    done = subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True)
    return None if "Failed to connect to Ray" in done.stderr else done
