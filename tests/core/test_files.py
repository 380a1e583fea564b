"""Whole files, whole directories, and locks, when processes are killed at any moment."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from sr_core import files
from sr_core.errors import BusyError
from sr_core.files import FileRecord, commit_directory, lock_directory, write_atomic

SIZE = 4 << 20  # large enough for a kill to fall into the middle


@contextlib.contextmanager
def python(code, *arguments, **environment):
    """A child process running `code` that has printed its first line; it is killed in the end."""
    command = [sys.executable, "-c", "import os, sys, time\nfrom pathlib import Path\n" + code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | environment) as child:
        try:
            assert child.stdout.readline()
            yield child
        finally:
            child.kill()


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_digests_of_bytes_files_and_values(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    record = files.record_of(tmp_path / "a")
    assert record == FileRecord(bytes=3, sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert files.sha256_bytes(b"abc") == record.sha256
    assert files.digest_of({"b": [1], "a": 2}) == files.sha256_bytes(b'{"a":2,"b":[1]}')


def test_a_mismatch_says_what_differs(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    record = files.record_of(path)
    assert files.mismatch(path, record) is None
    path.write_bytes(b"abx")
    assert f"{path}: sha256" in files.mismatch(path, record)
    path.write_bytes(b"ab")
    assert files.mismatch(path, record) == f"{path}: 2 bytes, expected 3"
    path.unlink()
    assert files.mismatch(path, record) == f"{path}: missing"


def test_an_atomic_write_makes_folders_and_leaves_one_file(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_atomic(path, "é")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failing_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    with contextlib.suppress(RuntimeError), files.atomic_path(path) as temporary:
        assert temporary.suffix == ".json"  # writers choose the format by it
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


WRITE_FOR_EVER = f"""
from sr_core.files import write_atomic
for turn in range(10**9):
    write_atomic(Path(sys.argv[1]), b"ab"[turn % 2 : turn % 2 + 1] * {SIZE})
    print(turn, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.bin"
    moments = random.Random(7)
    for _ in range(12):
        with python(WRITE_FOR_EVER, path):
            time.sleep(moments.uniform(0, 0.003))
        content = path.read_bytes()
        assert content in (b"a" * SIZE, b"b" * SIZE), f"{len(content)} bytes, {set(content)}"


def test_a_committed_directory_is_whole_or_absent(tmp_path):
    path = tmp_path / "step-1"
    with contextlib.suppress(RuntimeError), commit_directory(path) as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with commit_directory(path) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / content).write_text(content)
            assert not (path / "deep" / content).exists()
    assert [file.name for file in (path / "deep").iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


COMMIT_FOR_EVER = f"""
from sr_core.files import commit_directory
for turn in range(10**9):
    with commit_directory(Path(sys.argv[1])) as temporary:
        for name in ("a", "b"):
            (temporary / name).write_bytes(bytes([turn % 2]) * {SIZE})
    print(turn, flush=True)
"""


def test_a_committer_killed_at_any_moment_leaves_whole_directories(tmp_path):
    path = tmp_path / "photos [x]"
    moments = random.Random(7)
    for _ in range(12):
        with python(COMMIT_FOR_EVER, path):
            time.sleep(moments.uniform(0, 0.003))
        # between its two renames the old directory stands aside, whole
        standing = path if path.exists() else tmp_path / f".{path.name}.old"
        contents = [(standing / name).read_bytes() for name in ("a", "b")]
        assert contents[0] == contents[1]
        assert contents[0] in (bytes(SIZE), b"\x01" * SIZE)
    with commit_directory(path) as temporary:
        (temporary / "a").touch()
    assert list(tmp_path.iterdir()) == [path], "the next writer sweeps what killed ones left"


HOLD = """
from sr_core.files import lock_directory
with lock_directory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def refuse_to_wait(_seconds):
    raise AssertionError("waited for an owner that lives")


def test_a_held_directory_is_refused_naming_the_owner(tmp_path):
    with python(HOLD, tmp_path) as owner:
        with pytest.raises(BusyError) as caught, lock_directory(tmp_path, sleep=refuse_to_wait):
            pass
        message = str(caught.value)
        assert f"{tmp_path} is in use by process {owner.pid} on host {socket.gethostname()}" in message


def test_the_lock_ends_with_its_owner(tmp_path):
    with python(HOLD, tmp_path) as owner:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with lock_directory(tmp_path, sleep=refuse_to_wait):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    with lock_directory(tmp_path, sleep=refuse_to_wait):
        pass  # and with the block that held it


def test_an_owner_whose_launcher_died_is_waited_for(tmp_path):
    with python(HOLD, tmp_path, SR_LAUNCHER_PID=str(dead_pid())) as owner:
        waited = []

        def sleep(seconds):
            waited.append(seconds)
            owner.kill()
            owner.wait()

        with lock_directory(tmp_path, sleep=sleep):
            assert waited


def test_a_rank_of_the_group_that_is_replaced_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SR_LAUNCHER_PID", str(os.getppid()))
    with python(HOLD, tmp_path, SR_LAUNCHER_PID=str(os.getppid())) as owner:

        def sleep(seconds):
            owner.kill()
            owner.wait()

        with lock_directory(tmp_path, sleep=sleep):
            pass


def test_waiting_for_a_dying_owner_ends(tmp_path):
    with (
        python(HOLD, tmp_path, SR_LAUNCHER_PID=str(dead_pid())) as owner,
        pytest.raises(BusyError, match=f"process {owner.pid}"),
        lock_directory(tmp_path, dying_wait_s=0.3),
    ):
        pass


TAKE_AND_SAY_LATER = """
import fcntl
file = open(Path(sys.argv[1]) / ".lock", "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_an_owner_that_has_not_yet_said_who_it_is_is_asked_again(tmp_path):
    with python(TAKE_AND_SAY_LATER, tmp_path) as owner:

        def sleep(_seconds):
            (tmp_path / ".lock").write_text(
                f'{{"host": "{socket.gethostname()}", "pid": {owner.pid}, "launcher": {owner.pid}}}'
            )

        with pytest.raises(BusyError, match=f"process {owner.pid}"), lock_directory(tmp_path, sleep=sleep):
            pass


def test_a_zombie_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert files.is_alive(os.getpid())
    deadline = time.monotonic() + 20
    while files.is_alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not files.is_alive(child.pid)
    child.wait()


@pytest.mark.parametrize("exchange", [True, False])
def test_a_replaced_directory_is_there_at_every_moment_or_comes_back(tmp_path, monkeypatch, exchange):
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    seen = []
    monkeypatch.setattr(files, "_fsync", lambda path: seen.append((target / "weights").exists()))
    with files.commit_directory(target) as partial:
        (partial / "weights").write_text("new")
    assert all(seen)
    assert (target / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    target.rename(tmp_path / ".model.old")  # as a writer killed between the two renames leaves it
    with pytest.raises(ValueError, match="no"), files.commit_directory(target):
        raise ValueError("no")
    assert (target / "weights").read_text() == "new"


WAIT = """
from sr_core.files import wait_for_lock
with wait_for_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_is_waited_for_comes_when_its_owner_dies(tmp_path):
    path = tmp_path / "locks" / "a.zip"
    with python(WAIT, path) as owner:
        waited = []

        def sleep(seconds):
            waited.append(seconds)
            if len(waited) == 3:
                owner.kill()
                owner.wait()

        with files.wait_for_lock(path, sleep=sleep):
            assert len(waited) >= 3
    assert path.exists(), "a lock file that is removed gives two owners a lock each"


def test_a_committed_file_has_one_name(tmp_path):
    (tmp_path / "a.part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    files.commit_file(tmp_path / "a.part", tmp_path / "a")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]
