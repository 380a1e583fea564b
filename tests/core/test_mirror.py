"""A run that hosts without a common disk go on with: its state is in the store, owned by one at a time."""

import dataclasses
import json
import shutil
import subprocess
import sys
import threading
import time

import pytest
import training

from sr_core import config, files, remote
from sr_core.errors import BusyError, CheckpointError, RemoteError
from sr_core.progress import lines
from sr_core.train import checkpoint, mirror, remote_run, run
from sr_core.train.lease import LAUNCH, Lease, newest
from sr_core.world import World


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Parameters and data, and the digest of what an uninterrupted run ends with."""
    params, dataset = training.made(tmp_path_factory.mktemp("job"), checkpoint_every=2)
    directory = tmp_path_factory.mktemp("whole") / "run"
    training.go(params, dataset, directory)
    return params, dataset, training.digest(directory)


@pytest.fixture
def params(job, tmp_path):
    storage = dataclasses.replace(job[0].storage, remote=str(tmp_path / "remote"))
    return dataclasses.replace(job[0], storage=storage)


@pytest.fixture
def store(params):
    return remote.open_store(params.storage.remote)


def go(params, job, run_dir, **others):
    """Trains, and returns what was said."""
    heard = []
    result = training.go(params, job[1], run_dir, progress=lines(heard.append), **others)
    return result, heard


def stopped(params, job, run_dir, after):
    result, _ = go(params, job, run_dir, should_stop=training.asked_at(after))
    assert result.stopped


def steps(store):
    return sorted(
        int(key.split("step-")[1][:8]) for key in store.sizes("runs/run/checkpoints") if key.endswith("manifest.json")
    )


def test_two_hosts_one_after_the_other_end_as_one_does(params, job, store, tmp_path):
    first, second = tmp_path / "first" / "run", tmp_path / "second" / "run"
    stopped(params, job, first, after=6)
    assert steps(store) == [6, 7]
    result, heard = go(params, job, second)
    assert not result.stopped
    assert any(line.startswith("newest checkpoint: ") and "step-00000007" in line for line in heard)
    assert training.digest(second) == job[2]
    assert steps(store) == [10, 12]
    for name in ("params.json", "metrics.jsonl"):
        assert store.read(f"runs/run/{name}") == (second / name).read_bytes()
    third = tmp_path / "third" / "run"
    go(params, job, third)
    best = {path.relative_to(third): path.read_bytes() for path in (third / "best").rglob("*") if path.is_file()}
    assert best
    for name, data in best.items():
        assert (second / name).read_bytes() == data
    assert training.digest(third) == job[2]
    assert (third / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()


def test_what_is_newer_here_wins(params, job, store, tmp_path):
    run_dir = tmp_path / "first" / "run"
    stopped(params, job, run_dir, after=3)
    shutil.copytree(tmp_path / "remote", tmp_path / "older")
    stopped(params, job, run_dir, after=4)
    shutil.rmtree(tmp_path / "remote")
    (tmp_path / "older").rename(tmp_path / "remote")
    _, heard = go(params, job, run_dir)
    assert any(line.startswith("goes on from ") and "step-00000009" in line for line in heard)
    assert training.digest(run_dir) == job[2]
    assert steps(store) == [10, 12]


@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_checkpoint_of_the_store_is_not_used(params, job, store, tmp_path, name, damage):
    stopped(params, job, tmp_path / "first" / "run", after=5)
    key = f"runs/run/checkpoints/step-00000006/{name}"
    data = bytearray(store.read(key))
    data[len(data) // 2] ^= 1
    if damage == "gone":
        store.delete(key)
    else:
        store.write(key, bytes(data[: len(data) // 2] if damage == "cut" else data))
    _, heard = go(params, job, tmp_path / "second" / "run")
    gone = damage == "gone" and name == "manifest.json"
    assert gone or any("checkpoint not used: " in line and "step-00000006" in line for line in heard)
    assert any("newest checkpoint: " in line and "step-00000004" in line for line in heard)
    assert training.digest(tmp_path / "second" / "run") == job[2]
    remote_run.bring(store, tmp_path / "third" / "run", print)
    assert training.digest(tmp_path / "third" / "run") == job[2]


def test_where_no_checkpoint_of_the_store_is_whole_nobody_starts_again_unasked(params, job, store, tmp_path):
    stopped(params, job, tmp_path / "first" / "run", after=1)
    for key in store.sizes("runs/run/checkpoints"):
        store.write(key, b"x")
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole .*; expected one at least"):
        go(params, job, tmp_path / "second" / "run")
    go(params, job, tmp_path / "first" / "run")
    assert steps(store) == [10, 12]


def lease_of(store, run_dir, lease_s=60.0, **fields):
    lease = Lease(store, "runs/run", run_dir, lease_s)
    lease._own |= fields
    return lease


def test_a_second_host_is_refused_naming_the_first(params, job, store, tmp_path):
    owner = lease_of(store, tmp_path / "first" / "run", host="nodeA", pid=4242)
    owner.take()
    began = time.monotonic()
    with pytest.raises(BusyError, match=r"runs/run is in use by process 4242 on host nodeA: .*its lease ends in \d+ s"):
        go(params, job, tmp_path / "second" / "run")
    assert time.monotonic() - began < 2
    owner.give_back()
    go(params, job, tmp_path / "second" / "run")


@pytest.mark.parametrize(
    "gone",
    [{"pid": 2**22 + 1}, {"host": "nodeA", "lease_s": 0.05}, {"host": "nodeA", "launch": "this"}, {"here": True}],
    ids=["dead here", "silent", "of the same launch", "had this directory"],
)
def test_the_lease_of_an_owner_that_is_gone_is_taken(store, tmp_path, monkeypatch, gone):
    monkeypatch.setenv(LAUNCH, "this")
    run_dir = tmp_path / ("second" if gone.pop("here", False) else "first") / "run"
    owner = lease_of(store, run_dir, **({"launch": "other"} | gone))
    owner.take()
    owner._ended.set()  # its thread is gone, too
    time.sleep(0.1)
    successor = lease_of(store, tmp_path / "second" / "run", gone.get("lease_s", 60.0))
    successor.take()
    with pytest.raises(BusyError, match=r"was taken over by process \d+ on host .*; it goes on there"):
        owner.renew()
    with pytest.raises(BusyError):
        owner.check()
    owner.give_back()
    assert newest(store, "runs/run")[1]["released"] is False
    successor.give_back()
    assert newest(store, "runs/run")[1]["released"] is True
    assert len(store.sizes("runs/run")) == 1


def test_of_many_hosts_one_takes_the_lease(store, tmp_path):
    for _ in range(10):
        leases = [lease_of(store, tmp_path / str(i), host=f"node{i}") for i in range(6)]
        won = []

        def take(lease, won=won):
            try:
                lease.take()
            except BusyError:
                return
            won.append(lease)

        threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].give_back()


def test_an_owner_that_lost_its_lease_writes_nothing_more_and_ends(params, job, store, tmp_path):
    run_dir = tmp_path / "first" / "run"

    def steal_at_step_6(step, _values):
        if step == 6:
            lease_of(store, tmp_path / "other", host="nodeB", launch="x")
            number = newest(store, "runs/run")[0] + 1
            record = {"host": "nodeB", "pid": 7, "directory": "", "launch": None, "token": "t", "released": False}
            assert store.create(f"runs/run/lock-{number:06d}.json", files.to_json({**record, "time": 1}).encode())
            deadline = time.monotonic() + 10
            while not (run_dir / "checkpoints" / "step-00000006").exists():
                assert time.monotonic() < deadline

    slow = dataclasses.replace(params, storage=dataclasses.replace(params.storage, lease_s=1.0))
    with pytest.raises(BusyError, match="was taken over by process 7 on host nodeB"):
        go(slow, job, run_dir, observe=lambda *event: (steal_at_step_6(*event), time.sleep(0.3)))
    assert max(steps(store)) <= 6
    assert newest(store, "runs/run")[1]["host"] == "nodeB"


def test_a_store_that_is_not_there_is_said_once_and_training_goes_on(params, job, store, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(mirror, "RETRY_EVERY_S", 0.05)
    monkeypatch.setattr(mirror, "LAST_S", 0.5)
    away, there = tmp_path / "away", tmp_path / "remote"

    def take_away(step, _values):
        if step == 4:
            there.rename(away)
            there.write_text("no folder")
        time.sleep(0.1)

    result, heard = go(params, job, tmp_path / "first" / "run", observe=take_away)
    assert result.step == training.STEPS
    assert len([line for line in heard if "Training goes on, and uploading is tried again." in line]) == 1
    assert "the same command on this host uploads what is missing" in heard[-1]
    there.unlink()
    away.rename(there)
    go(params, job, tmp_path / "first" / "run")
    assert steps(store) == [10, 12]
    remote_run.bring(store, tmp_path / "second" / "run", print)
    assert training.digest(tmp_path / "second" / "run") == job[2]


def test_the_histories_of_two_hosts_are_one(store, tmp_path):
    first, second = tmp_path / "first" / "run", tmp_path / "second" / "run"
    for place, times in ((first, (1, 3)), (second, (2, 3))):
        place.mkdir(parents=True)
        (place / remote_run.HISTORY).write_text("".join(json.dumps({"time": at}) + "\n" for at in times))
    store.write(f"runs/run/{remote_run.HISTORY}", (first / remote_run.HISTORY).read_bytes())
    remote_run.bring(store, second, print)
    assert [json.loads(line)["time"] for line in (second / remote_run.HISTORY).read_text().splitlines()] == [1, 2, 3]


def test_the_log_of_a_run_on_another_host_is_followed(params, job, store, tmp_path):
    first, here = tmp_path / "first" / "run", tmp_path / "here" / "run"
    names = ("params.json", "metrics.jsonl", "launches.jsonl")
    with remote_run.followed(params, here, every_s=0.05):
        go(params, job, first)
        deadline = time.monotonic() + 30
        while not all((here / name).exists() for name in names) or any(
            (here / name).read_bytes() != (first / name).read_bytes() for name in names
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with remote_run.followed(params, first, every_s=0.02):  # rank 0's own directory
        (first / "metrics.jsonl").write_text("newer")
        time.sleep(0.3)
    assert (first / "metrics.jsonl").read_text() == "newer"


def test_status_of_a_run_in_a_store(params, job, tmp_path):
    stopped(params, job, tmp_path / "first" / "run", after=6)
    url = f"file://{params.storage.remote}/runs/run"
    command = [sys.executable, "-m", "sr_core", "status", url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "7" in done.stdout
    assert "stopped" in done.stdout


def test_a_store_that_cannot_be_used_is_said_before_training(job, tmp_path):
    params = dataclasses.replace(job[0], storage=dataclasses.replace(job[0].storage, remote="ftp://x"))
    with pytest.raises(RemoteError, match="has the protocol ftp"):
        go(params, job, tmp_path / "run")
    assert config.to_dict(params)["storage"]["remote"] == "ftp://x"


def test_without_a_store_there_is_no_thread_and_no_file(job, tmp_path):
    with mirror.attached(job[0], World(), tmp_path / "run") as mirrored:
        mirrored.wake()
        assert not [thread for thread in threading.enumerate() if thread.name in {"mirror", "lease"}]
    assert not (tmp_path / "run").exists()
    assert checkpoint.newest(tmp_path / "run" / run.CHECKPOINTS).path is None
