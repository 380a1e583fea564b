"""Shards pushed to a real store and pulled by hosts that have a disk of their own."""

import dataclasses
import functools
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stores
import training

from sr_core import config, files, remote
from sr_core.data import index as indexes
from sr_core.data import sync
from sr_core.data.patches import open_dataset
from sr_core.errors import RemoteError, ShardError
from sr_core.progress import QUIET, lines, size_text
from sr_core.train import run
from sr_core.world import World


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with stores.s3_server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket(stores.BUCKET)
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in stores.CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Parameters and data of a small job; the shards stay as they are."""
    return training.made(tmp_path_factory.mktemp("first"))


@pytest.fixture
def pushed(request, built, tmp_path):
    """The same with a remote store that has the shards."""
    s3 = getattr(request, "param", "folder") == "s3"
    params = with_remote(built[0], tmp_path, request.getfixturevalue("server") if s3 else None)
    sync.push(params, progress=QUIET)
    return params


def with_remote(params, tmp_path, server=None):
    url = str(tmp_path / "remote") if server is None else f"s3://{stores.BUCKET}/{tmp_path.name}"
    storage = dataclasses.replace(params.storage, remote=url, endpoint=server and server.url)
    return dataclasses.replace(params, storage=storage)


def on_host(params, root):
    """The parameters of another host, where nothing of the photographs is."""
    return dataclasses.replace(params, data=dataclasses.replace(params.data, root=str(root)))


def store_of(params):
    return remote.open_store(params.storage.remote, params.storage.endpoint)


def shards(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "shards").rglob("*") if path.is_file()}


def said(call):
    heard = []
    call(progress=lines(heard.append))
    return heard


@pytest.mark.parametrize("pushed", ["folder", "s3"], indirect=True)
def test_another_host_has_the_same_shards_and_fetches_each_once(pushed, built, tmp_path):
    other = on_host(pushed, tmp_path / "other")
    assert sync.data_digest(other) == built[1].digest
    assert run.current_directory(other).name == run.run_directory(built[0], built[1].digest).name
    assert not (tmp_path / "other").exists()  # the name of a run needs no shards here
    sync.bring(other, World(), progress=QUIET)
    assert shards(tmp_path / "other") == shards(Path(built[0].data.root))
    assert open_dataset(other.data, verify=True).digest == built[1].digest
    heard = said(functools.partial(sync.pull, other))
    assert [line for line in heard if "Fetching" in line] == []
    assert any("Verifying shards" in line for line in heard)
    assert said(functools.partial(sync.pull, other, verify=False)) == []


def test_what_is_damaged_or_lost_here_is_fetched_and_nothing_else(pushed, tmp_path):
    other = on_host(pushed, tmp_path / "other")
    sync.pull(other)
    whole = shards(tmp_path / "other")
    paths = sorted(path for path in (tmp_path / "other" / "shards").rglob("*.npy"))
    damaged, lost = paths[0], paths[-1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    lost_bytes = lost.stat().st_size
    lost.unlink()
    (lost.parent / indexes.INDEX).write_text("{}")
    (lost.parent / "left over.npy").touch()
    heard = said(functools.partial(sync.pull, other))
    assert shards(tmp_path / "other") == whole
    assert (
        heard[-1] == f"Fetching shards from {pushed.storage.remote}: {size_text(lost_bytes + damaged.stat().st_size)}"
    )


def test_a_second_push_puts_nothing_and_another_build_replaces(pushed, tmp_path):
    store = store_of(pushed)
    before = {key: store.read(key) for key in store.sizes("shards")}
    assert [line for line in said(functools.partial(sync.push, pushed)) if "Pushing" in line] == []
    key = min(key for key in before if key.endswith(".npy"))
    store.write(key, b"x")
    store.delete(f"{key.rpartition('/')[0]}/index.json")  # as a push that was interrupted leaves it
    store.write(f"{key.rpartition('/')[0]}/other.npy", b"x")
    with pytest.raises(ShardError, match=r"holds no finished shards; run `python -m flows.prepare`"):
        sync.pull(on_host(pushed, tmp_path / "other"))
    sync.push(pushed, progress=QUIET)
    assert {key: store.read(key) for key in store.sizes("shards")} == before


def test_damage_in_the_store_is_named_and_never_used(pushed, tmp_path):
    store = store_of(pushed)
    key = min(key for key in store.sizes("shards") if key.endswith(".npy"))
    store.write(key, bytes(len(store.read(key))))
    with pytest.raises(RemoteError, match=rf"{key}: has \d+ bytes with sha256"):
        sync.pull(on_host(pushed, tmp_path / "other"))
    assert not list((tmp_path / "other").rglob("index.json"))
    assert not (tmp_path / "other" / key).exists()


def test_a_store_without_shards_of_these_parameters_says_what_to_do(pushed, tmp_path):
    nothing = with_remote(on_host(pushed, tmp_path / "other"), tmp_path / "elsewhere")
    with pytest.raises(ShardError, match=r"elsewhere.*holds no finished shards; run `python -m flows.prepare`"):
        sync.pull(nothing)
    smaller = dataclasses.replace(pushed, data=dataclasses.replace(pushed.data, crop=training.CROP - 1))
    with pytest.raises(ShardError, match=r"was built for data\.crop 8, but data.crop is 7"):
        sync.pull(on_host(smaller, tmp_path / "other"))


def test_a_full_disk_is_said_before_anything_comes(pushed, tmp_path, monkeypatch):
    monkeypatch.setattr(sync.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(ShardError, match=r"other: has 10 B free, and the shards need .*kB; mend it and run the same"):
        sync.pull(on_host(pushed, tmp_path / "other"))
    assert not list((tmp_path / "other").rglob("*.npy"))


PULL = """
import json, sys
from sr_core import config, remote
from sr_core.data import sync
from sr_core.progress import lines
remote.PIECE_BYTES = 512
sync.pull(config.from_dict(json.loads(sys.argv[1])), progress=lines(print))
"""


def test_a_pull_that_is_killed_goes_on(built, server, tmp_path):
    params = with_remote(built[0], tmp_path, server)
    sync.push(params, progress=QUIET)
    other, root = on_host(params, tmp_path / "other"), tmp_path / "other"
    command = [sys.executable, "-c", PULL, files.to_json(config.to_dict(other))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=stores.environment()) as process:
        while not any(path.stat().st_size > 512 for path in root.rglob(".*.part")):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not list(root.rglob("index.json"))
    there = {path: path.stat().st_ino for path in root.rglob("[!.]*.npy")}
    sync.pull(other)
    assert shards(root) == shards(Path(built[0].data.root))
    assert there.items() <= {path: path.stat().st_ino for path in root.rglob("*.npy")}.items()
