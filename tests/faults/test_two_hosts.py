"""Training over two hosts that share no disk: the same weights, a host that dies, and one that comes back."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import made
import mlflow
import pytest
from launched import RAY, TWO, complete, digest, fresh_run
from processes import wait_until
from two_hosts import PORT, Host, Running, two_hosts

from sr_core.train import checkpoint, metrics_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
VALUES = {
    "model": {"options": {"num_blocks": 1, "num_features": 8}},
    "train": {"batch": 6, "crop": 16, "num_threads": 1, "log_every": 5, "eval_every": 20, "eval_images": 1}
    | {"checkpoint_every": 10, "lr_milestones": []},
}
SMALL = [f"{section}.{key}={json.dumps(value)}" for section, of in VALUES.items() for key, value in of.items()]


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Two hosts in one Ray cluster, the head's address, and an S3 server that both reach."""

    head: Host
    other: Host
    endpoint: str

    @property
    def address(self) -> str:
        return f"{self.head.address}:{PORT}"

    def start(self, command: list[str], name: str, *overrides: str):
        """A command on the head that works below /tmp/<name> of each host, with a bucket called so."""
        keys = [*SMALL, f"launch.address={self.address}", "launch.placement=SPREAD", *overrides]
        keys += [f"data.root=/tmp/{name}", f"storage.remote=s3://{name}", f"storage.endpoint={self.endpoint}"]
        return self.head.start([*command, *(word for key in keys for word in ("--set", key))])

    def make_bucket(self, name: str) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT"), timeout=10).close()

    def checkpoints(self, name: str):
        """The newest manifest of the run on each host that has one."""
        runs = [run for host in (self.head, self.other) for run in (host.tmp / name / "runs").glob("*")]
        return [found for run in runs if (found := checkpoint.newest(run / "checkpoints").manifest)]

    def step(self, name: str) -> int:
        return max((manifest.step for manifest in self.checkpoints(name)), default=0)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    with two_hosts(folder, **CREDENTIALS) as (head, other, here), (folder / "moto.log").open("wb") as log:
        port = made.free_port()
        command = [sys.executable, "-m", "moto.server", "-H", here, "-p", str(port)]
        with subprocess.Popen(command, stdout=log, stderr=log) as moto:
            try:
                head.join(head)
                wait_until(lambda: is_up(f"http://{here}:{port}"), 60, "moto's S3 server")
                yield Hosts(head, other, f"http://{here}:{port}")
            finally:
                moto.kill()


def is_up(url):
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def both(hosts):
    """The hosts, with the second one there."""
    if not hosts.other.is_in():
        hosts.other.join(hosts.head)
    return hosts


@pytest.fixture
def with_shards(both, shards, request):
    """The name of a fresh data.root, for which the store has the shards."""
    name = request.node.name.replace("_", "-")[:40]
    both.make_bucket(name)
    shutil.copytree(shards, both.head.tmp / name / "shards")
    pushed = both.start([sys.executable, "-m", "sr_core", "shard"], name)
    assert pushed.wait(240) == 0, pushed.said()
    return name


def test_two_hosts_train_the_same_weights_as_torchrun_and_an_mlflow_server_records_it(
    both, with_shards, shards, tmp_path
):
    driver = both.start(RAY, with_shards, "train.steps=40")
    assert driver.wait(400) == 0, driver.said()
    expected = digest(complete(TWO, *fresh_run(shards, tmp_path, [*SMALL, "train.steps=40"])), 40)
    (manifest,) = [found for found in both.checkpoints(with_shards) if found.step == 40][:1]
    assert manifest.files[checkpoint.STATE].sha256 == expected
    assert manifest.world_size == 2
    (run_dir,) = (both.head.tmp / with_shards / "runs").iterdir()  # whichever host rank 0 was on
    with mlflow_server(tmp_path, both.endpoint.split(":")[1].strip("/")) as uri:
        ship = [sys.executable, "-m", "flows.track", "ship", f"/tmp/{with_shards}/runs/{run_dir.name}"]
        shipped = both.head.start([*ship, "--set", f"track.uri={uri}"])
        assert shipped.wait(120) == 0, shipped.said()
        client = mlflow.MlflowClient(uri)
        (experiment,) = [one for one in client.search_experiments() if one.name == "super-resolution"]
        (recorded,) = client.search_runs([experiment.experiment_id])
        losses = client.get_metric_history(recorded.info.run_id, "train/loss")
        assert [loss.step for loss in losses] == list(range(5, 41, 5))


@contextlib.contextmanager
def mlflow_server(folder: Path, host: str):
    """The URI of an MLflow server on sqlite that both hosts reach."""
    port = made.free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--allowed-hosts", "*"]
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        (folder / "mlflow.log").open("wb") as log,
        subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True) as server,
    ):
        try:
            made.wait_until_healthy(f"http://{host}:{port}", 120)
            yield f"http://{host}:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def kill_after(hosts: Hosts, driver: Running, name: str, step: int) -> None:
    """Kills all of the second host when the run has come to `step`."""
    wait_until(lambda: hosts.step(name) >= step or driver.process.poll() is not None, 300, f"step {step}")
    assert driver.process.poll() is None, driver.said()
    hosts.other.kill()


def ended_right(hosts: Hosts, driver: Running, name: str, steps: int) -> list[int]:
    """Numbers of ranks that the run's newest checkpoints are of, once it has ended with all steps logged once."""
    assert driver.wait(400) == 0, driver.said()
    (run_dir,) = (hosts.head.tmp / name / "runs").iterdir()
    logged = [event.step for event in metrics_log.read(run_dir) if "train/loss" in event.values]
    assert logged == list(range(5, steps + 1, 5))
    assert (hosts.head.tmp / name / "models").is_dir()
    return [manifest.world_size for manifest in hosts.checkpoints(name) if manifest.step == steps]


def test_elastic_workers_go_on_with_one_host_and_take_the_other_in_again(both, with_shards):
    steps = 600
    elastic = ["launch.min_workers=1", "launch.resize_every_s=5", "launch.placement=PACK", f"train.steps={steps}"]
    elastic += ["train.batch=32", "train.crop=24"]  # of seconds in all, not less
    driver = both.start(RAY, with_shards, *elastic)
    kill_after(both, driver, with_shards, 30)
    killed_at = both.step(with_shards)
    alone = wait_until(lambda: group_of(both, with_shards, 1, after=killed_at), 240, "a group of one")
    both.other.join(both.head)
    wait_until(lambda: group_of(both, with_shards, 2, after=alone), 240, "a group of two")
    assert 2 in ended_right(both, driver, with_shards, steps)


def group_of(hosts: Hosts, name: str, size: int, *, after: int) -> int:
    """The newest step of a group of `size` ranks beyond step `after`, or 0."""
    return max(
        (found.step for found in hosts.checkpoints(name) if found.world_size == size and found.step > after), default=0
    )


def test_without_elastic_bounds_a_host_that_returns_lets_the_job_go_on(both, with_shards):
    driver = both.start(RAY, with_shards, "train.steps=200")
    kill_after(both, driver, with_shards, 30)
    both.other.join(both.head)
    assert 2 in ended_right(both, driver, with_shards, 200)
    assert "a worker was lost" in driver.said()
