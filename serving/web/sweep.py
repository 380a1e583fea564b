"""Uploads and results are removed: when their visitor leaves, when they are old, and when they take too much disk."""

import contextlib
import hashlib
import shutil
import threading
import time
from pathlib import Path

from serving.web.limits import Limits

EVERY_S = 20.0


class Sweeper:
    """Looks after one folder from a thread of its own."""

    def __init__(self, folder: Path, limits: Limits, every_s: float = EVERY_S) -> None:
        self.folder = folder
        self._limits, self._every_s = limits, every_s
        self._stop = threading.Event()

    def start(self) -> None:
        """Until `stop` is called, or the process ends."""
        threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.sweep()

    def sweep(self) -> None:
        """Removes what is older than keep_s, the oldest until the rest is within keep_bytes, and empty folders."""
        found = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # removed meanwhile
                if path.is_file():
                    about = path.stat()
                    found.append((about.st_mtime, about.st_size, path))
        left, oldest = sum(size for _, size, _ in found), time.time() - self._limits.keep_s
        for modified, size, path in sorted(found):
            if modified >= oldest and left <= self._limits.keep_bytes:
                break
            path.unlink(missing_ok=True)
            left -= size
        for path in sorted((path for path in self.folder.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):  # not empty, or just made
                if path.stat().st_mtime < oldest:
                    path.rmdir()

    def folder_of(self, session: str) -> Path:
        """Where the results of one visitor lie; made if it is not there."""
        folder = self._name(session)
        folder.mkdir(exist_ok=True)
        return folder

    def forget(self, session: str) -> None:
        """Removes the results of a visitor who left."""
        shutil.rmtree(self._name(session), ignore_errors=True)

    def _name(self, session: str) -> Path:
        """Whatever a visitor's program calls its session, the folder lies in ours."""
        return self.folder / f"session-{hashlib.sha256(session.encode()).hexdigest()[:16]}"
