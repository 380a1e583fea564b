"""Shards built by Ray are those that one process builds, whatever happens to Ray's workers meanwhile."""

import dataclasses
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import made
import numpy as np
import pytest
import ray.exceptions
from processes import MARK, alive, wait_until

from flows import child, shard_tasks
from sr_core import config
from sr_core.data import shards
from sr_core.data.images import write_png
from sr_core.errors import ConfigError, ImageError, ShardError
from sr_core.progress import QUIET

NUM_PHOTOGRAPHS = 8
END_S = 15.0  # after Ctrl-C
WRITER = "ray::write_shard"


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Photographs that take a while, each a shard of its own."""
    monkeypatch.setenv(MARK, f"{os.getpid()}-{tmp_path.name}")
    random = np.random.default_rng(0)
    for i in range(NUM_PHOTOGRAPHS):
        write_png(tmp_path / "photographs" / f"{i}.png", random.integers(0, 256, (900, 900, 3), dtype=np.uint8))
    own = {"source": "folder", "folder": str(tmp_path / "photographs"), "crop": 24, "shard_bytes": 1, "num_writers": 2}
    return made.params(tmp_path, data=own)


def ours() -> dict[int, str]:
    """The processes that this test has started."""
    return alive(os.environ[MARK])


def built(params: config.Params, say=None) -> dict[str, bytes]:
    """Every file of the shards that Ray builds; nothing of Ray is left."""
    version = shard_tasks.build(params, say=say or (lambda line: None))
    assert ours() == {}
    assert version == shards.build(params.data, progress=QUIET).digest
    return content(params)


def content(params: config.Params) -> dict[str, bytes]:
    base = Path(params.data.root) / "shards"
    return {str(file.relative_to(base)): file.read_bytes() for file in base.rglob("*") if file.is_file()}


def in_one_process(params: config.Params, tmp_path: Path) -> dict[str, bytes]:
    """What has to come out."""
    alone = dataclasses.replace(params.data, root=str(tmp_path / "alone"), num_writers=1)
    shards.build(alone, progress=QUIET)
    return content(dataclasses.replace(params, data=alone))


def test_the_number_of_workers_changes_no_byte(params, tmp_path):
    said: list[str] = []
    assert built(params, said.append) == in_one_process(params, tmp_path)
    assert "starting Ray with 2 writers" in said
    said.clear()
    shard_tasks.build(params, say=said.append)
    assert not [line for line in said if "Ray" in line]  # for nothing Ray is not started


def test_every_photograph_that_cannot_be_used_is_named(params, tmp_path):
    for name in ("3.png", "5.png"):
        path = tmp_path / "photographs" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1  # seen when it is decoded
        path.write_bytes(data)
    with pytest.raises(ImageError, match=r"(?s)^2 images cannot be used:.*/3\.png.*/5\.png"):
        built(params)


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_task_whose_worker_is_lost_runs_again(params, tmp_path, times):
    killed = []

    def say(line: str) -> None:
        while line.startswith("starting Ray") and len(killed) < times:
            for pid in [pid for pid, command in ours().items() if command.startswith(WRITER)][:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    said: list[str] = []
    assert built(params, lambda line: (said.append(line), say(line))) == in_one_process(params, tmp_path)
    assert len(killed) == times
    assert not [line for line in said if "driver ended" in line]


BUILD = """
import sys
from flows import child, shard_tasks
from sr_core import config
shard_tasks.build(config.load(sys.argv[1]), say=None)
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_build_leaves_nobody_and_goes_on(params, tmp_path, number):
    made.write_params(params, tmp_path / "params.yaml")
    command = [sys.executable, "-c", BUILD, str(tmp_path / "params.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as launcher:
        notes = Path(params.data.root) / "shards"
        wait_until(lambda: list(notes.rglob("*.done")), 60, "the first shard")
        launcher.send_signal(number)
        interrupted_s = time.monotonic()
        wait_until(lambda: not ours(), END_S + 10, "Ray to end")
        assert time.monotonic() - interrupted_s < END_S
    finished = {path: path.stat().st_mtime_ns for path in notes.rglob("*.npy") if not path.name.startswith(".")}
    assert finished
    assert built(params) == in_one_process(params, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # not written again


class Stand:
    """In Ray's place: tasks are done at once, and the last submitted comes first."""

    exceptions = ray.exceptions

    def __init__(self, fail: Exception | None = None) -> None:
        self.most, self._fail = 0, fail

    def remote(self, **options: object):
        return lambda function: types.SimpleNamespace(remote=lambda task: (function, task))

    def wait(self, waiting: list):
        self.most = max(self.most, len(waiting))
        return waiting[-1:], waiting[:-1]

    def get(self, reference: tuple):
        if self._fail:
            raise self._fail
        function, task = reference
        return function(task)


@pytest.mark.parametrize("num_tasks", [1, 4, 5, 23])
def test_few_tasks_are_known_to_ray_at_a_time(num_tasks):
    stand = Stand()
    results = shard_tasks._results(stand, str, range(num_tasks), most=4, max_retries=3)
    assert sorted(results) == sorted(map(str, range(num_tasks)))
    assert stand.most == min(4, num_tasks)


def test_what_a_task_meets_is_raised_as_what_it_is():
    full = ray.exceptions.RayTaskError("write_shard", "…", OSError(28, "No space left on device", "/shard.npy"))
    with pytest.raises(OSError, match="No space left") as raised:
        list(shard_tasks._results(Stand(full.as_instanceof_cause()), str, [1], most=1, max_retries=3))
    assert (raised.value.errno, raised.value.filename) == (28, "/shard.npy")


def test_workers_that_are_always_lost_are_one_sentence():
    with pytest.raises(ShardError, match=r"^launch\.max_failures: .* lost 4 times \(WorkerCrashedError\)"):
        list(shard_tasks._results(Stand(ray.exceptions.WorkerCrashedError()), str, [1], most=1, max_retries=3))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_that_runs_already_builds_the_same_and_goes_on_running(params, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    port = made.free_port()
    temporary = Path("/tmp") / f"sr-test-{os.getpid()}"
    command = f"start --head --port {port} --num-cpus 3 --include-dashboard false --disable-usage-stats --block"
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *command.split(), "--temp-dir", str(temporary)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, MARK: "head"},
        )
    try:
        wait_until(lambda: "Ray runtime started" in (tmp_path / "ray.log").read_text(), 90, "the cluster")
        there = dataclasses.replace(params, launch=dataclasses.replace(params.launch, address=f"127.0.0.1:{port}"))
        assert built(there) == in_one_process(params, tmp_path)
        assert head.poll() is None
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        shutil.rmtree(there.data.root)
        with pytest.raises(ConfigError, match=r"^launch\.address: Ray at 127.* did not let us in, .* RAY_AUTH_TOKEN"):
            built(there)
    finally:
        head.terminate()
        head.wait(timeout=60)
        child.end_session(head.pid)
