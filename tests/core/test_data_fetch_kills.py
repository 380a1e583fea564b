"""Fetching processes that are killed, that meet each other, and that find no room on the disk."""

import contextlib
import dataclasses
import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faulty_server
import pytest
from faulty_server import Server, served

from sr_core.data.fetch import Download, FetchPolicy, fetch
from sr_core.errors import SourceError
from sr_core.progress import QUIET

CHUNK = 1 << 18
CONTENT = random.Random(9).randbytes(10 * CHUNK + 5)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
POLICY = FetchPolicy(chunk_bytes=CHUNK, retries=1, backoff_s=0.01)

FETCH = """
import json, signal, sys
from pathlib import Path
from sr_core.data.fetch import Download, FetchPolicy, fetch
from sr_core.progress import QUIET
downloads = [Download(**each) for each in json.loads(sys.argv[1])]
policy = FetchPolicy(chunk_bytes=int(sys.argv[3]), retries=1, backoff_s=0.01)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
print("ready", flush=True)
fetch(downloads, Path(sys.argv[2]), parallel=2, progress=QUIET, policy=policy)
print("done", flush=True)
"""


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as running:
        running.files["a.zip"] = CONTENT
        yield running


def wanted(server: Server, name: str = "a.zip", **values: Any) -> Download:
    return Download(**{"name": name, "url": server.url(name), "bytes": len(CONTENT), "sha256": DIGEST, **values})


@contextlib.contextmanager
def fetching(downloads: list[Download], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is about to fetch; it is killed in the end."""
    told = json.dumps([dataclasses.asdict(download) for download in downloads])
    command = [sys.executable, "-c", FETCH, told, str(folder), str(CHUNK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child
        finally:
            child.kill()


def wait_until(server: Server, sent: int) -> None:
    deadline = time.monotonic() + 60
    while server.sent < sent:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".locks")


@pytest.mark.parametrize("archives", [["a.zip"], ["a.zip", "b.zip"]])
def test_a_kill_costs_one_chunk_at_most(server: Server, tmp_path: Path, archives: list[str]) -> None:
    server.pause_s = 0.002
    server.files |= dict.fromkeys(archives, CONTENT)
    downloads = [wanted(server, name) for name in archives]
    moments = random.Random(3)
    num_kills = 6
    for _ in range(num_kills):
        with fetching(downloads, tmp_path) as child:
            wait_until(server, server.sent + moments.randrange(1, int(1.4 * CHUNK)))
            child.send_signal(signal.SIGKILL)
        assert not (tmp_path / "a.zip").exists()
    server.pause_s = 0
    fetch(downloads, tmp_path, parallel=2, progress=QUIET, policy=POLICY)

    assert all((tmp_path / name).read_bytes() == CONTENT for name in archives)
    assert names(tmp_path) == archives
    size = len(CONTENT) * len(archives)
    assert size < server.sent <= size + num_kills * CHUNK


def test_a_kill_costs_one_chunk_of_what_a_server_without_ranges_sends(server: Server, tmp_path: Path) -> None:
    server.always, server.pause_s = faulty_server.whole, 0.01
    with fetching([wanted(server)], tmp_path) as child:
        wait_until(server, 3 * CHUNK)
        child.kill()
    assert server.sent < len(CONTENT)
    assert json.loads((tmp_path / "a.zip.part.json").read_text())["bytes"] >= CHUNK
    server.always, server.pause_s = None, 0  # as another mirror has it
    fetch([wanted(server)], tmp_path, parallel=1, progress=QUIET, policy=POLICY)
    assert server.ranges()[1] != "bytes=0-262143"


def test_what_a_kill_in_the_middle_of_a_record_leaves_is_swept(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.zip.part.4711.tmp.json").write_text("{")
    fetch([wanted(server)], tmp_path, parallel=1, progress=QUIET, policy=POLICY)
    assert names(tmp_path) == ["a.zip"]


def test_two_processes_make_one_transfer(server: Server, tmp_path: Path) -> None:
    server.pause_s = 0.002
    with fetching([wanted(server)], tmp_path) as one, fetching([wanted(server)], tmp_path) as other:
        for child in (one, other):
            out, error = child.communicate(timeout=60)
            assert (out, child.returncode) == (b"done\n", 0), error.decode()
    assert server.sent == len(CONTENT)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_the_second_goes_on_when_the_first_is_killed(server: Server, tmp_path: Path) -> None:
    server.pause_s = 0.002
    with fetching([wanted(server)], tmp_path) as one:
        wait_until(server, 3 * CHUNK)
        with fetching([wanted(server)], tmp_path) as other:
            one.kill()
            out, error = other.communicate(timeout=60)
            assert out == b"done\n", error.decode()
    assert server.sent <= len(CONTENT) + CHUNK


def test_several_come_at_once(server: Server, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=20)
    files = [f"{number}.zip" for number in range(3)]
    server.files |= dict.fromkeys(files, CONTENT)

    def meets(handler: faulty_server.Handler, content: bytes) -> None:
        together.wait()
        faulty_server.well(handler, content)

    server.faults = [meets] * 3
    found = fetch([wanted(server, name) for name in files], tmp_path, parallel=3, progress=QUIET, policy=POLICY)
    assert list(found) == files
    assert {path.read_bytes() for path in found.values()} == {CONTENT}


def test_ctrl_c_ends_it_at_once_and_costs_nothing(server: Server, tmp_path: Path) -> None:
    server.always = faulty_server.ends_at(0)
    server.files["b.zip"] = CONTENT
    server.faults = [faulty_server.well, faulty_server.stall]
    with fetching([wanted(server)], tmp_path) as child:
        wait_until(server, CHUNK + len(CONTENT) // 2)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=10)
        assert b"KeyboardInterrupt" in error
    assert json.loads((tmp_path / "a.zip.part.json").read_text())["bytes"] == len(CONTENT) // 2


def test_a_disk_without_room_is_found_first(server: Server, tmp_path: Path) -> None:
    huge = [wanted(server, bytes=10**15), wanted(server, "b.zip", bytes=10**15)]
    with pytest.raises(
        SourceError, match=r"2 files to fetch need another 2000 TB, and the disk has .* free; make room"
    ):
        fetch(huge, tmp_path / "not yet" / "there", parallel=2, progress=QUIET, policy=POLICY)
    assert server.requests == []
    assert names(tmp_path) == []


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A tiny file system in memory."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_part_already_there_needs_no_second_room(server: Server, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=3m") as disk:
        server.faults = [faulty_server.well] * 6 + [faulty_server.status(404)]
        with pytest.raises(SourceError, match="404"):
            fetch([wanted(server)], disk, parallel=1, progress=QUIET, policy=POLICY)
        fetch([wanted(server)], disk, parallel=1, progress=QUIET, policy=POLICY)
        assert (disk / "a.zip").read_bytes() == CONTENT
        assert server.sent == len(CONTENT)


def test_a_disk_that_fills_up_is_said_and_the_part_stays(server: Server, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        with pytest.raises(SourceError) as caught:
            fetch([wanted(server, bytes=None)], disk, parallel=1, progress=QUIET, policy=POLICY)
        assert str(caught.value) == (
            f"1 of 1 files cannot be fetched; make room on the disk:\n  {disk}/a.zip.part: No space left on device"
        )
        assert server.sent < 2 * (1 << 20)
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        fetch([wanted(server)], disk, parallel=1, progress=QUIET, policy=POLICY)
        assert (disk / "a.zip").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        SourceError, match=r"see that the folder can be written:\n  .*file.*: (Not a directory|File exists)"
    ):
        fetch([wanted(server)], tmp_path / "file", parallel=1, progress=QUIET, policy=POLICY)
    with (
        mounted(tmp_path / "disk", "size=1m,ro") as disk,
        pytest.raises(SourceError, match=r"folder can be written:\n  .*disk.*: Read-only file system"),
    ):
        fetch([wanted(server, bytes=None)], disk, parallel=1, progress=QUIET, policy=POLICY)
    assert server.requests == []


def test_a_folder_in_the_place_of_the_file_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(SourceError, match=r"a\.zip.*: Is a directory"):
        fetch([wanted(server)], tmp_path, parallel=1, progress=QUIET, policy=POLICY)
