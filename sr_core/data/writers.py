"""Writing shards: one task per file, each in whatever process runs it.

What a file holds is decided by its task alone, so its bytes do not depend on how many writers there are. A
finished file has a note beside it (`.<name>.done`) with its digest and that of its sources, until index.json
says so for all: a build that was killed goes on with what is missing.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sr_core.data.degrade import lr_of
from sr_core.data.images import read_rgb
from sr_core.data.index import HR, VERSION
from sr_core.data.pairs import ImagePair
from sr_core.data.resize import crop_to_multiple
from sr_core.errors import ImageError, ShardError
from sr_core.files import FileRecord, atomic_path, digest_of, record_of, to_json, write_atomic


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A photograph, the sha256 of its files, and where its patches start, in LR pixels."""

    pair: ImagePair
    hr_sha256: str
    lr_sha256: str | None  # None: LR is made here
    tops: tuple[int, ...] = ()
    lefts: tuple[int, ...] = ()

    @property
    def num_patches(self) -> int:
        """How many patches are cut from the photograph."""
        return len(self.tops) * len(self.lefts)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """One file to write: the patches of `pieces`, or, where `patch` is 0, the one photograph in it."""

    path: Path
    track: str
    scale: int
    patch: int  # side in HR pixels; 0: a whole photograph
    pieces: tuple[Piece, ...]

    @property
    def source_digest(self) -> str:
        """The sha256 of all that determines the file's bytes."""
        # HR shards serve all degradations, so no LR file may change their digest
        cuts = [
            (piece.pair.key, piece.hr_sha256, None if self.track == HR else piece.lr_sha256, piece.tops, piece.lefts)
            for piece in self.pieces
        ]
        return digest_of([VERSION, self.path.name, self.track, self.scale, self.patch, cuts])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """What became of a task: the record of its file, or a line on each photograph that cannot be decoded."""

    path: Path
    record: FileRecord | None
    failures: tuple[str, ...] = ()


# calls the function on every task, anywhere, and gives the results in any order
RunTasks: TypeAlias = Callable[[Callable[[ShardTask], ShardResult], Sequence[ShardTask]], Iterator[ShardResult]]


def write_shard(task: ShardTask) -> ShardResult:
    """Writes the file of `task` and the note beside it, or nothing; memory: one photograph."""
    failures: list[str] = []
    with contextlib.suppress(ImageError):
        with atomic_path(task.path) as temporary:
            _fill(temporary, task, failures)
        record = record_of(task.path)
        write_atomic(note_path(task.path), to_json({"source": task.source_digest, **dataclasses.asdict(record)}))
        return ShardResult(path=task.path, record=record)
    return ShardResult(path=task.path, record=None, failures=tuple(failures))


def note_path(path: Path) -> Path:
    """Where the note on the finished file at `path` is."""
    return path.with_name(f".{path.name}.done")


def noted(task: ShardTask) -> FileRecord | None:
    """What the note on the file of `task` says, if there is one for the same sources."""
    try:
        note = json.loads(note_path(task.path).read_text(encoding="utf-8"))
        return FileRecord(bytes=note["bytes"], sha256=note["sha256"]) if note["source"] == task.source_digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fill(path: Path, task: ShardTask, failures: list[str]) -> None:
    """Writes the pixels of `task` to `path`; raises ImageError after the last piece if any failed."""
    if not task.patch:
        np.save(path, _pixels(task, task.pieces[0], failures))
    else:
        side = task.patch if task.track == HR else task.patch // task.scale
        count = sum(piece.num_patches for piece in task.pieces)
        # mapped, so that the kernel writes pages out while later photographs are decoded
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, side, side, 3))
        with path.open("r+b") as file:  # a page that a full disk has no room for would end the process by SIGBUS
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        first = 0
        for piece in task.pieces:
            with contextlib.suppress(ImageError):
                _cut(array[first:], _pixels(task, piece, failures), piece, task.scale if task.track == HR else 1)
            first += piece.num_patches
        array.flush()
    if failures:
        raise ImageError(failures[0])


def _cut(out: NDArray[np.uint8], pixels: NDArray[np.uint8], piece: Piece, factor: int) -> None:
    side = out.shape[1]
    corners = [(top * factor, left * factor) for top in piece.tops for left in piece.lefts]
    for i, (top, left) in enumerate(corners):
        out[i] = pixels[top : top + side, left : left + side]


def _pixels(task: ShardTask, piece: Piece, failures: list[str]) -> NDArray[np.uint8]:
    try:
        if task.track == HR:
            return crop_to_multiple(read_rgb(piece.pair.hr), task.scale)
        return lr_of(piece.pair, None, task.scale, task.track)
    except ImageError as error:
        failures.append(str(error))
        raise


def in_processes(num_writers: int) -> RunTasks:
    """Runs tasks in `num_writers` processes, or in this one if it is 1."""

    def run(function: Callable[[ShardTask], ShardResult], tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        if min(num_writers, len(tasks)) <= 1:
            yield from map(function, tasks)
            return
        # spawn: a fork would copy the locks of whatever threads the parent has
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(num_writers, len(tasks)), mp_context=context, initializer=_start_writer)
        try:
            for future in as_completed([pool.submit(function, task) for task in tasks]):
                yield future.result()
        except BrokenProcessPool:
            raise ShardError(
                "a process that writes shards was killed, perhaps for want of memory: lower data.num_writers or "
                "data.shard_bytes and run the same command again; what is finished is kept"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    return run


def _start_writer() -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent dies: the pool's pipes would keep it alive."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
