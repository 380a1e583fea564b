"""A run directory and the remote store (`storage.remote`): its state comes from there before training, and goes there
meanwhile.

Rank 0 takes the lease on the run, brings what is newer there, and then a thread of its own uploads: the log every few
seconds, best weights and checkpoints when they are written. The loop never waits for it. While the store is down,
training goes on and the thread tries again; what it has not uploaded is said at the end, and the next launch here
uploads it. A checkpoint on its way cannot be deleted under the thread: it has second names for its files.
"""

import contextlib
import functools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from sr_core import files, remote
from sr_core.errors import BusyError, SrError, explained
from sr_core.params import Params
from sr_core.progress import QUIET, Progress
from sr_core.train import remote_run
from sr_core.train.checkpoint import BEST, CHECKPOINTS, MANIFEST
from sr_core.train.lease import Lease
from sr_core.train.remote_run import LISTING, OUTGOING, TEXTS
from sr_core.world import World

LOOK_EVERY_S = 5.0  # for new lines in the log
LOG_BYTES_PER_S = 1 << 20  # a log is uploaded as a whole, so a long one less often
RETRY_EVERY_S = 2.0  # at the end
LAST_S = 30.0  # at the end: in all when asked to stop, else without a byte that moves


class Mirror(Protocol):
    """What the loop may do with a mirror."""

    def wake(self) -> None:
        """A checkpoint was written. Raises BusyError if another host has taken the run."""


class _Nothing:
    def wake(self) -> None:
        pass


@contextlib.contextmanager
def attached(
    params: Params,
    world: World,
    run_dir: Path,
    *,
    progress: Progress = QUIET,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Mirror]:
    """Keeps `run_dir`, which rank 0 holds the lock of, and the remote store alike; without a store does nothing.

    On leaving, what is left is uploaded: for 30 s in all if `should_stop` says so, else as long as bytes move.

    Raises:
        BusyError: another host trains this run; names it and its process.
        CheckpointError: the store has checkpoints of it, and none is whole.
        RemoteError: the store cannot be used.
    """
    if params.storage.remote is None:
        yield _Nothing()
        return
    uploader = _Uploader(params, run_dir, progress) if world.is_first else None
    try:
        world.on_first(uploader.begun if uploader else _nothing)
        yield uploader or _Nothing()
        # all wait: a rank that ended before would have its launcher end this one
        world.on_first(functools.partial(uploader.end, _deadline(should_stop)) if uploader else _nothing)
    finally:
        if uploader is not None:
            uploader.close(_deadline(should_stop))


def _nothing() -> None:
    pass


def _deadline(should_stop: Callable[[], bool]) -> float | None:
    return time.monotonic() + LAST_S if should_stop() else None


class _Uploader:
    """The thread, on rank 0."""

    def __init__(self, params: Params, run_dir: Path, progress: Progress) -> None:
        self._params, self._run_dir, self._progress = params, run_dir, progress
        self._prefix = remote_run.prefix_of(run_dir)
        self._begun, self._woken, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._failure: Exception | None = None  # of beginning
        self._problem = ""  # what stands in the way of uploading
        self._given_up = False
        self._moved_s = time.monotonic()  # when a byte moved last
        self._sent: dict[str, Any] = {}  # by name of a file or of best weights, which version the store has
        self._saved: dict[str, bytes] = {}  # checkpoints here that the store has: their manifests by name
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def begun(self) -> None:
        """Waits until the newest state is here; raises what stood in its way."""
        self._begun.wait()
        if self._failure is not None:
            raise self._failure

    def wake(self) -> None:
        """A checkpoint was written."""
        self._lease.check()
        self._woken.set()

    def end(self, deadline: float | None) -> None:
        """Has the thread upload what is left and end; waits for it, unless there is no point in waiting longer."""
        if not self._closing.is_set():
            self._moved_s = time.monotonic()
            self._closing.set()
            self._woken.set()
        while self._thread.is_alive() and not self._given_up:
            if time.monotonic() > (deadline or self._moved_s + LAST_S):
                self._given_up = True
            self._thread.join(0.1)

    def close(self, deadline: float | None) -> None:
        """Ends the thread and gives the lease back; raises nothing."""
        self.end(deadline)
        if self._failure is not None:
            return
        self._lease.give_back()
        shutil.rmtree(self._run_dir / OUTGOING, ignore_errors=True)
        if self._given_up or self._problem:
            reason = self._problem or "it takes too long"
            self._progress.say(
                f"not all of {self._run_dir} is in {self._store.url} ({reason}); the same command on this host "
                "uploads what is missing"
            )

    def _run(self) -> None:
        try:
            self._begin()
        except Exception as error:  # whatever it is, the ranks must hear of it
            self._failure = error
        self._begun.set()
        while self._failure is None and not self._given_up:
            closing = self._closing.is_set()
            done = self._attempt()
            if closing and done:
                return
            if closing:
                time.sleep(RETRY_EVERY_S)
            elif self._woken.wait(LOOK_EVERY_S):
                self._woken.clear()

    def _begin(self) -> None:
        storage = self._params.storage
        assert storage.remote is not None, "the caller looks"
        self._store = remote.open_store(storage.remote, storage.endpoint)
        self._lease = Lease(self._store, self._prefix, self._run_dir, storage.lease_s)
        self._lease.take()
        try:
            self._rejected = remote_run.bring(self._store, self._run_dir, self._progress.say)
        except BaseException:
            self._lease.give_back()
            raise

    def _attempt(self) -> bool:
        """Uploads what is new; whether there is nothing left to do."""
        try:
            self._upload()
        except BusyError as error:  # the lease is lost: nothing more may be written
            self._problem, self._given_up = str(error), True
            return True
        except (SrError, OSError) as error:
            if not self._problem:
                self._problem = str(explained(error))
                self._progress.say(f"{self._problem}\nTraining goes on, and uploading is tried again.")
            return False
        if self._problem:
            self._progress.say(f"{self._store.url}: is back, and has what was missing")
            self._problem = ""
        return True

    def _check(self) -> None:
        self._lease.check()
        if self._given_up:
            raise SrError(f"{self._store.url}: given up")

    def _moved(self, _num_bytes: int = 0) -> None:
        self._moved_s = time.monotonic()

    def _upload(self) -> None:
        names = sorted(path.name for path in (self._run_dir / CHECKPOINTS).glob("step-*"))
        for name in TEXTS:
            self._upload_file(name)
        for path in sorted((self._run_dir / BEST).glob("step-*")):
            self._upload_best(path)
        self._saved = {name: manifest for name, manifest in self._saved.items() if name in names}
        for name in reversed(names):  # the newest first: the others are for the case that it is damaged
            self._upload_checkpoint(name, newest=names[-1])
            if self._woken.is_set() and not self._closing.is_set():
                break

    def _upload_file(self, name: str) -> None:
        path = self._run_dir / name
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        version = status.st_size, status.st_mtime_ns
        sent, at_s = self._sent.get(name, (None, 0.0))
        pause_s = status.st_size / LOG_BYTES_PER_S
        if sent == version or (time.monotonic() - at_s < pause_s and not self._closing.is_set()):
            return
        self._check()
        self._store.write(f"{self._prefix}/{name}", path.read_bytes())
        self._sent[name] = version, time.monotonic()
        self._moved()

    def _upload_best(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # better ones have replaced it
            version = (path / "card.json").stat().st_mtime_ns
            if self._sent.get(f"best/{path.name}") == version:
                return
            copy = remote_run.linked(path, self._run_dir / OUTGOING / f"best-{path.name}")
            listing = remote_run.listing_of(copy)
            key = f"{self._prefix}/{BEST}/{path.name}"
            if self._store.read(f"{key}/{LISTING}") != listing:
                files.write_atomic(copy / LISTING, listing)
                remote_run.put_directory(self._store, key, copy, LISTING, self._moved, self._check)
            self._sent[f"best/{path.name}"] = version
            shutil.rmtree(copy)

    def _upload_checkpoint(self, name: str, *, newest: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # newer ones have replaced it
            path = self._run_dir / CHECKPOINTS / name
            manifest, key = (path / MANIFEST).read_bytes(), f"{self._prefix}/{CHECKPOINTS}/{name}"
            if self._saved.get(name) == manifest:
                return
            if name in self._rejected or self._store.read(f"{key}/{MANIFEST}") != manifest:
                copy = remote_run.linked(path, self._run_dir / OUTGOING / name)
                self._lease.renew()
                remote_run.put_directory(self._store, key, copy, MANIFEST, self._moved, self._check)
                self._rejected.discard(name)
                shutil.rmtree(copy)
            self._saved[name] = manifest
            remote_run.prune(self._store, self._run_dir, newest, keep=self._params.train.keep_checkpoints)
