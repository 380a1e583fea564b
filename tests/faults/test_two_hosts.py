"""Training over two hosts that share no disk: the same weights, a host that dies, and one that comes back."""

import dataclasses
import json
import shutil
import subprocess
import sys
import urllib.request

import made
import pytest
from launched import RAY, TWO, complete, digest, fresh_run
from processes import wait_until
from two_hosts import PORT, Host, two_hosts

from sr_core.train import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

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
    assert pushed.wait(60) == 0, pushed.said()
    return name


def test_two_hosts_train_the_same_weights_as_torchrun(both, with_shards, shards, tmp_path):
    driver = both.start(RAY, with_shards, "train.steps=40")
    assert driver.wait(300) == 0, driver.said()
    expected = digest(complete(TWO, *fresh_run(shards, tmp_path, [*SMALL, "train.steps=40"])), 40)
    (manifest,) = [found for found in both.checkpoints(with_shards) if found.step == 40][:1]
    assert manifest.files[checkpoint.STATE].sha256 == expected
    assert manifest.world_size == 2
