"""The store: the same of a folder and of a real S3 server, and a sentence for whatever is wrong with it."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import stores

from sr_core import files, remote
from sr_core.errors import RemoteError
from sr_core.files import FileRecord


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with stores.s3_server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket(stores.BUCKET)
        yield server


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in stores.CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "file", "s3"])
def store(request, tmp_path, server):
    if request.param == "s3":
        return remote.open_store(f"s3://{stores.BUCKET}/{tmp_path.name}", server.url)
    return remote.open_store({"folder": "", "file": "file://"}[request.param] + str(tmp_path / "a remote"))


def test_what_is_written_is_read(store):
    assert store.read("runs/a") is None
    assert store.sizes("runs") == {}
    store.write("runs/a", b"first")
    store.write("runs/a", b"second")
    store.write("runs/deep/b", b"")
    assert store.read("runs/a") == b"second"
    assert store.read_range("runs/a", 2, 4) == b"co"
    assert store.sizes("runs") == {"runs/a": 6, "runs/deep/b": 0}
    store.delete("runs/a")
    store.delete("runs/a")
    assert store.sizes("runs") == {"runs/deep/b": 0}


def test_of_many_that_create_one_wins(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("lock", str(i).encode()), range(8)))
    assert won.count(True) == 1
    assert store.read("lock") == str(won.index(True)).encode()


def test_a_file_goes_there_and_back(store, tmp_path):
    here = tmp_path / "here"
    here.write_bytes(os.urandom(3 * remote.PART_BYTES + 17))  # in parts, on S3
    sent, came = [], []
    store.upload(here, "a/file", sent.append)
    assert sum(sent) == here.stat().st_size
    remote.fetch(store, "a/file", tmp_path / "there" / "file", files.record_of(here), moved=came.append)
    assert (tmp_path / "there" / "file").read_bytes() == here.read_bytes()
    assert sum(came) == here.stat().st_size
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file"]


def test_a_file_that_is_not_what_was_promised_never_has_its_name(store, tmp_path):
    store.write("file", b"other")
    for record in (FileRecord(bytes=5, sha256="0" * 64), FileRecord(bytes=6, sha256="0" * 64)):
        with pytest.raises(RemoteError, match=r"file: has 5 bytes with sha256 .*, expected"):
            remote.fetch(store, "file", tmp_path / "there" / "file", record)
    with pytest.raises(RemoteError, match="is not there, expected 5 bytes"):
        remote.fetch(store, "none", tmp_path / "there" / "file", FileRecord(bytes=5, sha256="0" * 64))
    assert list((tmp_path / "there").iterdir()) == []


FETCH = """
import sys
from pathlib import Path
from sr_core import files, remote
url, endpoint, source, target = sys.argv[1:]
remote.PIECE_BYTES = 1 << 16
remote.fetch(
    remote.open_store(url, endpoint), "big", Path(target), files.record_of(Path(source)),
    moved=lambda number: print(number, flush=True),
)
"""


def test_a_killed_fetch_goes_on_where_it_was(server, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(8 << 20))
    url = f"s3://{stores.BUCKET}/{tmp_path.name}"
    store = remote.open_store(url, server.url)
    store.upload(source, "big")
    command = [sys.executable, "-c", FETCH, url, server.url, str(source), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=stores.environment()) as process:
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    (part,) = tmp_path.glob(".*.part")
    assert 18 << 16 <= part.stat().st_size < 8 << 20
    there, came = part.stat().st_size, []
    remote.fetch(store, "big", target, files.record_of(source), moved=came.append)
    assert came[0] == there
    assert target.read_bytes() == source.read_bytes()


def test_what_was_left_and_is_damaged_is_fetched_again(store, tmp_path):
    data = os.urandom(1000)
    store.write("file", data)
    record = FileRecord(bytes=1000, sha256=files.sha256_bytes(data))
    for left in (b"x" * 10, b"x" * 1000, b"x" * 2000):
        (tmp_path / f".file.{record.sha256[:16]}.part").write_bytes(left)
        remote.fetch(store, "file", tmp_path / "file", record)
        assert (tmp_path / "file").read_bytes() == data


FULL = """
import resource, signal, sys
from pathlib import Path
from sr_core import remote
from sr_core.files import FileRecord
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2, 2))
remote.fetch(remote.open_store(sys.argv[1]), "file", Path(sys.argv[2]), FileRecord(bytes=4, sha256="0" * 64))
"""


def test_a_disk_that_takes_no_more_is_said_and_nothing_is_left(tmp_path):
    remote.open_store(str(tmp_path / "remote")).write("file", b"data")
    command = [sys.executable, "-c", FULL, str(tmp_path / "remote"), str(tmp_path / "here" / "file")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"File too large: '{tmp_path}/here/file'" in done.stderr
    assert list((tmp_path / "here").iterdir()) == []


def sentence(url, endpoint=None):
    with pytest.raises(RemoteError) as caught:
        remote.open_store(url, endpoint).read("key")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_thing_that_can_be_wrong_has_a_sentence(server, monkeypatch):
    assert sentence("gs://bucket") == (
        "storage.remote: gs://bucket has the protocol gs, expected s3://, file:// or a folder"
    )
    assert "names no bucket" in sentence("s3://")
    assert sentence("s3://nobody/x", server.url) == (
        "s3://nobody/x: there is no bucket nobody; make it, or change storage.remote"
    )
    monkeypatch.setattr(remote, "WAITS_S", (0.01, 0.01))
    nobody = f"http://127.0.0.1:{stores.free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    began = time.monotonic()
    text = sentence("s3://bucket/x")
    assert text.startswith(f"s3://bucket/x: the server at {nobody} does not answer (")
    assert time.monotonic() - began < 20
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no credentials were found" in sentence("s3://bucket/x", server.url)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install 'sr-pipeline[s3]'" in sentence("s3://bucket/x", server.url)


def test_a_server_that_hangs_is_given_up(tmp_path, monkeypatch):
    with stores.s3_server(tmp_path) as server:
        server.make_bucket(stores.BUCKET)
        monkeypatch.setattr(remote, "READ_TIMEOUT_S", 0.5)
        monkeypatch.setattr(remote, "WAITS_S", (0.01,))
        store = remote.open_store(f"s3://{stores.BUCKET}", server.url)
        store.write("key", b"1")
        server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(RemoteError, match="does not answer"):
            store.read("key")
        server.process.send_signal(signal.SIGCONT)
        assert store.read("key") == b"1"
