"""Hosts that share nothing but an S3 server: processes with a data.root each, killed, refused, and cut off from it."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stores
import training
import yaml

from sr_core import config, remote
from sr_core.data import sync
from sr_core.progress import QUIET, lines
from sr_core.train import mirror, run

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, "-m", "sr_core", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sr_core"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with stores.s3_server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket(stores.BUCKET)
        yield server


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Parameters and data, and the digest of what an uninterrupted run ends with."""
    params, dataset = training.made(tmp_path_factory.mktemp("job"), checkpoint_every=1)
    directory = tmp_path_factory.mktemp("whole") / "run"
    training.go(params, dataset, directory)
    return params, dataset, training.digest(directory)


class Site:
    """A store with the job's shards, and hosts that train from it."""

    def __init__(self, job, server, folder, monkeypatch):
        for name, value in stores.CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        storage = dataclasses.replace(
            job[0].storage, remote=f"s3://{stores.BUCKET}/{folder.name}", endpoint=server.url, lease_s=20.0
        )
        self.params, self._folder = dataclasses.replace(job[0], storage=storage), folder
        self.store = remote.open_store(storage.remote, storage.endpoint)
        sync.push(self.params, progress=QUIET)

    def root(self, name):
        return self._folder / name

    def command(self, name, *changes, launcher=TRAIN):
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config.to_dict(self.params)))
        changes = (f"data.root={self.root(name)}", *changes)
        return [*launcher, "--params", str(path), *(word for change in changes for word in ("--set", change))]

    def start(self, name, *changes):
        return subprocess.Popen(
            self.command(name, *changes), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def complete(self, name, *changes, launcher=TRAIN):
        done = subprocess.run(
            self.command(name, *changes, launcher=launcher), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def digest(self, name):
        (directory,) = (self.root(name) / "runs").iterdir()
        assert run.checkpoint.newest(directory / run.CHECKPOINTS).manifest.step == training.STEPS
        return training.digest(directory)

    def has_checkpoint(self, name):
        return any((self.root(name) / "runs").glob("*/checkpoints/step-*/manifest.json"))


@pytest.fixture
def site(job, server, tmp_path, monkeypatch):
    return Site(job, server, tmp_path, monkeypatch)


def wait_until(condition, process=None):
    deadline = time.monotonic() + 90
    while not condition():
        assert process is None or process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_host_killed_while_it_uploads_is_followed_by_another_that_ends_the_same(site, job, server):
    with site.start("first") as first:
        wait_until(lambda: any((site.root("first") / "runs").glob("*/.outgoing/step-*")), first)
        server.process.send_signal(signal.SIGSTOP)  # whatever is on its way stays there
        first.kill()
        server.process.send_signal(signal.SIGCONT)
    assert run.current_directory(site.params).name in {path.name for path in (site.root("first") / "runs").iterdir()}
    code, output = site.complete("second")
    assert code == 0, output
    assert "Fetching shards from s3://" in output
    assert site.digest("second") == job[2]
    assert (site.root("second") / "models" / job[0].task / "weights.safetensors").exists()


def test_two_hosts_at_once_are_one_too_many(site, job):
    long = "train.steps=100000"
    with site.start("first", long) as first:
        wait_until(lambda: site.has_checkpoint("first"), first)
        code, output = site.complete("second", long)
        assert code == 7, output
        assert f"is in use by process {first.pid} on host {os.uname().nodename}: wait for it to end" in output
        first.send_signal(signal.SIGTERM)
        output = first.stdout.read()
    assert first.returncode == 75, output
    last = max(path.name for path in (site.root("first") / "runs").glob("*/checkpoints/step-*"))
    assert any(f"/{last}/manifest.json" in key for key in site.store.sizes("runs"))


def test_who_is_asked_to_stop_while_shards_come_ends_at_once(site, server):
    server.process.send_signal(signal.SIGSTOP)
    try:
        with site.start("first") as first:
            # from here on SIGTERM is a request: torch is imported after it
            maps = Path(f"/proc/{first.pid}/maps")
            wait_until(lambda: "libtorch_cpu" in maps.read_text(), first)
            first.send_signal(signal.SIGTERM)
            output, _ = first.communicate(timeout=25)  # one read of the store takes 30 s until it is given up
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert first.returncode == 75, output
    assert output.endswith("train: stopped before the first step; the same command goes on\n")


def test_a_server_that_hangs_in_mid_training_gets_everything_once_it_is_back(site, job, server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(remote, "WAITS_S", (0.01,))
    monkeypatch.setattr(mirror, "RETRY_EVERY_S", 0.1)
    heard = []

    def observe(step, _values):
        if step == 3:
            server.process.send_signal(signal.SIGSTOP)
        if step == 9:
            wait_until(lambda: any("Training goes on" in line for line in heard))
            server.process.send_signal(signal.SIGCONT)

    directory = tmp_path / "first" / "run"
    began = time.monotonic()
    try:
        training.go(site.params, job[1], directory, observe=observe, progress=lines(heard.append))
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - began < 60
    assert len([line for line in heard if "Training goes on, and uploading is tried again." in line]) == 1
    assert any(line.endswith("is back, and has what was missing") for line in heard)
    assert training.digest(directory) == job[2]
    for path in [*directory.glob("*.json*"), *directory.glob("checkpoints/*/*"), *directory.glob("best/*/*")]:
        assert site.store.read(f"runs/run/{path.relative_to(directory)}") == path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_killed_at_any_moment_end_the_same(site, job):
    draw = random.Random(1)
    for i in range(5):
        with site.start(f"host{i}") as process:
            wait_until(lambda i=i: site.root(f"host{i}").exists(), process)
            time.sleep(draw.uniform(0.0, 2.0))
            process.kill()
    code, output = site.complete("last")
    assert code == 0, output
    assert site.digest("last") == job[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_ranks_of_torchrun_have_the_same_store(site, job, tmp_path):
    launcher = [*TORCHRUN, "train"]
    code, output = site.complete("first", launcher=launcher)
    assert code == 0, output
    code, output = site.complete("second", launcher=launcher)
    assert code == 0, output
    assert site.digest("first") == site.digest("second")
