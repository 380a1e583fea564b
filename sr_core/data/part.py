"""A file on its way: `<name>.part`, and `<name>.part.json`, which says how much of it is safely on disk and of what.

A record is written after the bytes it speaks of were synced, so that what a kill or a power cut takes is what came
since the last one. What the part is of: the sha256 that is expected, or the URL where none is known, and the server's
validator (RFC 9110, section 8.8), by which a later request asks for the rest of the same file and no other.
"""

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sr_core.files import CHUNK_BYTES, commit_file, to_json, write_atomic


class Part:
    """The first `position` bytes of a file, with their digest. `total` is its size where that is known."""

    def __init__(self, path: Path, *, url: str, of: str, total: int | None) -> None:
        self.path, self.position, self.total = path.with_name(f"{path.name}.part"), 0, total
        self.validator: tuple[str, str] | None = None  # a header's name and value
        self._url, self._of, self._target, self._recorded = url, of, path, 0
        self._record_path = path.with_name(f"{path.name}.part.json")
        self._digest = hashlib.sha256()
        self._descriptor = -1

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there."""
        return self.position == self.total

    @property
    def num_unrecorded(self) -> int:
        """The bytes that a kill would take now."""
        return self.position - self._recorded

    @property
    def sha256(self) -> str:
        """Of the bytes so far, in hex."""
        return self._digest.hexdigest()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Goes on where an earlier process stopped, if it was fetching the same file."""
        for stale in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp.json"):
            stale.unlink()  # of a process killed while it wrote its record; the caller holds the lock
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._resume()
            yield
        finally:
            os.close(self._descriptor)

    def restart(self) -> None:
        """Forgets all bytes."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.position = self._recorded = 0
        self.validator = None
        self._digest = hashlib.sha256()

    def append(self, data: bytes) -> None:
        """Adds the next bytes; a record of them is up to the caller."""
        left = memoryview(data)
        with self._named():
            while left:
                left = left[os.write(self._descriptor, left) :]
        self._digest.update(data)
        self.position += len(data)

    def record(self) -> None:
        """Makes sure that the bytes so far outlive this process."""
        if not self.num_unrecorded:
            return
        with self._named():
            os.fsync(self._descriptor)
        record = {"url": self._url, "of": self._of, "validator": self.validator, "bytes": self.position}
        write_atomic(self._record_path, to_json(record))
        self._recorded = self.position

    def commit(self) -> None:
        """Gives the file its name."""
        commit_file(self.path, self._target)
        self._record_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Removes all of it."""
        self.path.unlink(missing_ok=True)
        self._record_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # of a descriptor: it does not know its file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _resume(self) -> None:
        record = self._read_record()
        size, most = record.get("bytes"), os.fstat(self._descriptor).st_size
        if record.get("of") != self._of or not isinstance(size, int) or not 0 < size <= most:
            self.restart()
            return
        os.ftruncate(self._descriptor, size)
        while data := os.read(self._descriptor, CHUNK_BYTES):
            self._digest.update(data)
        self.position = self._recorded = size
        match record:
            case {"url": self._url, "validator": [str(name), str(value)]}:
                self.validator = name, value

    def _read_record(self) -> dict[str, Any]:
        try:
            record = json.loads(self._record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}
