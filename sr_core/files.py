"""Whole files and whole directories, or nothing: digests, atomic writes, commits by one rename, locks.

This is the only module that renames. A reader of anything written here sees the old content or the new
one, never a part: data goes to a temporary name on the same file system, is fsynced, and is renamed.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sr_core.errors import BusyError

CHUNK_BYTES = 1 << 20
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h
LAUNCHER_PID = "SR_LAUNCHER_PID"  # the process whose death ends this one; see DirectoryLock


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """What an index or manifest says of one file: its size and its sha256 in hex."""

    bytes: int
    sha256: str


def sha256_bytes(data: bytes) -> str:
    """The sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def record_of(path: Path) -> FileRecord:
    """Reads `path` once and returns its size and sha256."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def size_mismatch(path: Path, expected: FileRecord) -> str | None:
    """One line if the file at `path` is not there or of another size than `expected`, or None; no byte is read."""
    try:
        status = path.stat()
    except OSError:
        return f"{path}: missing"
    if not stat.S_ISREG(status.st_mode):
        return f"{path}: not a file"
    return None if status.st_size == expected.bytes else f"{path}: {status.st_size} bytes, expected {expected.bytes}"


def mismatch(path: Path, expected: FileRecord) -> str | None:
    """One line on how the file at `path` differs from `expected`, or None if it does not."""
    if problem := size_mismatch(path, expected):
        return problem
    found = record_of(path).sha256
    if found != expected.sha256:
        return f"{path}: sha256 {found[:12]}…, expected {expected.sha256[:12]}…"
    return None


def digest_of(value: Any) -> str:
    """The sha256 in hex of `value` as canonical JSON (sorted keys, no spaces)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def to_json(value: Any) -> str:
    """`value` as the JSON text this project writes: indented, sorted, newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes `data` to `path` so that a crash leaves the old file or the new one; makes parent folders."""
    payload = data.encode() if isinstance(data, str) else data
    with atomic_path(path) as temporary:
        temporary.write_bytes(payload)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name to write to; on leaving without an error it is fsynced and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: libraries choose the format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def commit_file(temporary: Path, path: Path) -> None:
    """Gives the finished file `temporary` its name `path` in the same folder, by one rename."""
    _fsync(temporary)
    temporary.replace(path)
    _fsync(path.parent)


@contextlib.contextmanager
def commit_directory(path: Path) -> Iterator[Path]:
    """A temporary directory to fill; on leaving without an error it becomes `path` by one rename.

    Whatever stood at `path` is replaced in the same moment, where the file system can exchange two names. Where it
    cannot, the old directory is moved aside first: `path` is then absent for a moment, and what a writer killed just
    then has moved is moved back by the next. Left-overs of killed writers (`.<name>.<pid>.partial`, `.old`) are
    swept by the next one, so one at a time: hold a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() and _old(path).exists():
        _old(path).replace(path)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _fsync(file)
        _fsync(temporary)
        _replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_directory(source: Path, target: Path) -> None:
    if target.exists() and _exchange(source, target):
        _fsync(target.parent)  # the old directory now has the left-over's name
        return
    old = _old(target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    source.replace(target)
    _fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Gives each the other's name in one step, by Linux's renameat2; False where that is not to be had."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs on this host (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


@contextlib.contextmanager
def lock_directory(
    directory: Path, *, dying_wait_s: float = 30.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Holds `directory` alone, or raises BusyError naming the owner's host and process id.

    The kernel drops the lock (flock on `.lock`) when its owner dies. An owner whose launcher is dead is
    about to end by itself: it is waited for, up to `dying_wait_s` seconds. So is an owner with the same
    launcher as this process, which is of the group of ranks that this one's group replaces. The launcher is the
    process named by SR_LAUNCHER_PID in the environment.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + dying_wait_s
    with (directory / ".lock").open("a+") as file:
        while not _try_lock(file.fileno()):
            file.seek(0)
            owner = _read_owner(file.read())
            if not _is_dying(owner) or time.monotonic() > deadline:
                raise BusyError(
                    f"{directory} is in use by process {owner.get('pid', '?')} on host {owner.get('host', '?')}: "
                    "wait for it to end, or stop it, and try again"
                )
            sleep(0.2)
        file.seek(0)
        file.truncate()
        launcher = int(os.environ.get(LAUNCHER_PID, os.getpid()))
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "launcher": launcher}, file)
        file.flush()
        yield


@contextlib.contextmanager
def wait_for_lock(path: Path, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Holds the lock file `path`, however long another has it: `sleep` is called between looks, and may raise.

    The kernel drops the lock when its owner dies. The file stays: removing it would give two owners a lock each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        while not _try_lock(file.fileno()):
            sleep(0.1)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_owner(text: str) -> Mapping[str, Any]:
    try:
        owner = json.loads(text)
    except ValueError:  # between the owner's lock and its first write
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_dying(owner: Mapping[str, Any]) -> bool:
    if not owner:  # it has the lock and has not yet said who it is: ask again
        return True
    if owner.get("host") != socket.gethostname():
        return False
    replaced = str(owner["launcher"]) == os.environ.get(LAUNCHER_PID) and owner["pid"] != os.getpid()
    return replaced or not (is_alive(owner["pid"]) and is_alive(owner["launcher"]))
