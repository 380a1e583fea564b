"""deploy/kuberay: what the RayJob asks for fits together, and its entrypoint is a command that this project has."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deployed import environment, write_project

from flows import running, workers
from sr_core import config
from sr_core.train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "kuberay" / "rayjob.yaml"


@pytest.fixture
def job():
    (found,) = yaml.safe_load_all(FILE.read_text())
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    return found["spec"]


@pytest.fixture
def asked(job, monkeypatch):
    """The parameters that the entrypoint trains by."""
    monkeypatch.chdir(ROOT)
    python, dash, module, *words = shlex.split(job["entrypoint"])
    assert (python, dash, module, words[0]) == ("python", "-m", "flows.train", "edsr")
    parser = running.parser("flows.train", "")
    parser.add_argument("model")
    parser.add_argument("--only")
    given = parser.parse_args(words)
    return config.load(given.params, [f"model.name={given.model}", *given.set])


def test_the_job_is_started_again_and_leaves_no_cluster(job):
    assert job["backoffLimit"] > 0
    assert job["shutdownAfterJobFinishes"]
    cluster = job["rayClusterSpec"]
    assert f"ray[train]=={cluster['rayVersion']}" in (ROOT / "pyproject.toml").read_text()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 60  # a step and a checkpoint, after SIGTERM
        assert pod["containers"][0]["image"] == cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]


def test_the_workers_find_what_the_entrypoint_asks_for(job, asked):
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    given = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    node = {"CPU": float(given["cpu"]), "GPU": float(given["nvidia.com/gpu"])}
    assert workers.that_fit([node] * group["replicas"], asked.launch) == asked.launch.num_workers
    assert workers.that_fit([node] * group["minReplicas"], asked.launch) >= asked.launch.min_workers
    assert job["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"  # no rank there


def test_each_node_has_a_disk_of_its_own_and_all_have_the_store(job, asked):
    assert asked.storage.remote.startswith("s3://")
    assert asked.launch.address == "auto"  # RAY_ADDRESS, which Ray sets for a job
    cluster = job["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        container = group["template"]["spec"]["containers"][0]
        assert asked.data.root in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert container["envFrom"] == [{"secretRef": {"name": "sr-s3"}}]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_entrypoint_trains_here_with_a_small_job(job, tmp_path):
    write_project(tmp_path, steps=20)
    here = {"launch.use_gpu": "false", "launch.num_workers": 1, "launch.min_workers": "null", "data.root": "data"}
    here |= {"launch.cpus_per_worker": 1, "train.num_threads": 1, "storage.remote": f"file://{tmp_path}/store"}
    here |= {"track.uri": "sqlite:///mlflow.db", "launch.address": "local"}
    settings = " ".join(f"--set {key}={value}" for key, value in here.items())
    variables = environment(tmp_path)
    shard = [sys.executable, "-m", "sr_core", "shard", "--set", f"storage.remote={here['storage.remote']}"]
    subprocess.run(shard, cwd=tmp_path, env=variables, check=True)
    done = subprocess.run(
        f"{job['entrypoint']} {settings}", shell=True, cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run_dir,) = (tmp_path / "data" / "runs").iterdir()
    assert checkpoint.newest(run_dir / "checkpoints").manifest.step == 20
    assert list((tmp_path / "store" / "runs" / run_dir.name / "checkpoints").iterdir())
