"""Writing shards: one task per group of photographs, each in whatever process runs it.

A task writes the HR file of its group and the LR files of all members that lack theirs, so that a photograph is decoded
once for all of them. Patches go through one small buffer into the file and into its sha256: no shard is held in memory
or read a second time. What a file holds is decided by its task alone, so its bytes do not depend on how many writers
there are. A finished file has a note beside it (`.<name>.done`) with its digest and that of its sources, until
index.json says so for all: a build that was killed goes on with what is missing.
"""

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sr_core.data import degrade
from sr_core.data.images import read_rgb
from sr_core.data.index import HR
from sr_core.data.pairs import ImagePair
from sr_core.data.resize import crop_to_multiple
from sr_core.errors import ImageError, ShardError
from sr_core.files import CHUNK_BYTES, FileRecord, atomic_path, record_of, to_json, write_atomic
from sr_core.params import DataParams


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A photograph, the sha256 of its files, and where its patches start, in LR pixels."""

    pair: ImagePair
    digests: Mapping[Path, str]
    tops: tuple[int, ...] = ()
    lefts: tuple[int, ...] = ()

    @property
    def num_patches(self) -> int:
        """How many patches are cut from the photograph."""
        return len(self.tops) * len(self.lefts)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One file to write."""

    path: Path
    track: str  # hr, or a degradation
    variant: int
    source_digest: str  # of all that determines the file's bytes


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """The files to write from `pieces`: their patches, or, where `patch` is 0, the one photograph in it."""

    outputs: tuple[Output, ...]
    pieces: tuple[Piece, ...]
    patch: int  # side in HR pixels; 0: a whole photograph
    params: DataParams


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A finished file, and the shifts (dy, dx) in LR pixels that were undone in it, by the photographs' keys."""

    record: FileRecord
    shifts: Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """What became of a task: its files; or a line on each image that cannot be used; or why nothing can be written."""

    written: Mapping[Path, Written] = dataclasses.field(default_factory=dict)
    failures: tuple[str, ...] = ()
    error: str | None = None


# calls the function on every task, anywhere, and gives the results in any order
RunTasks: TypeAlias = Callable[[Callable[[ShardTask], ShardResult], Sequence[ShardTask]], Iterator[ShardResult]]


def write_shards(task: ShardTask) -> ShardResult:
    """Writes the files of `task` and the notes beside them, or nothing; memory: one photograph."""
    failures: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_npy_file(output.path, _shape(task, output))) for output in task.outputs]
            for piece in task.pieces:
                _write_piece(task, piece, files, failures)
            if failures:
                raise ImageError(failures[0])
            written = {output.path: file.written() for output, file in zip(task.outputs, files, strict=True)}
            for output in task.outputs:  # before the files get their names: none is there without a note
                note = {"source": output.source_digest, **dataclasses.asdict(written[output.path])}
                write_atomic(note_path(output.path), to_json(note))
        return ShardResult(written=written)
    except ImageError:
        return ShardResult(failures=tuple(failures))
    except OSError as error:
        where = error.filename or task.outputs[0].path.parent
        return ShardResult(error=f"{where}: {error.strerror or error}; mend it and run again, what is finished is kept")


def note_path(path: Path) -> Path:
    """Where the note on the finished file at `path` is."""
    return path.with_name(f".{path.name}.done")


def noted(output: Output) -> Written | None:
    """What the note on the file of `output` says, if there is one for the same sources."""
    try:
        note = json.loads(note_path(output.path).read_text(encoding="utf-8"))
        if note["source"] != output.source_digest:
            return None
        shifts = {key: (int(dy), int(dx)) for key, (dy, dx) in note["shifts"].items()}
        return Written(record=FileRecord(**note["record"]), shifts=shifts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class _NpyFile:
    """A .npy file of uint8 that grows; its sha256 is taken while the bytes are in the cache."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._file, self._sha256, self._bytes = file, hashlib.sha256(), 0
        self._shifts: dict[str, tuple[int, int]] = {}
        np.lib.format.write_array_header_1_0(self, {"descr": "|u1", "fortran_order": False, "shape": shape})

    def write(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        self._file.write(data)
        self._bytes += len(data)

    def append(self, pixels: NDArray[np.uint8]) -> None:
        """(H, W, 3), copied block by block: it may be a part of a larger image."""
        rows = max(1, CHUNK_BYTES // pixels[0].nbytes)
        for top in range(0, len(pixels), rows):
            self.write(np.ascontiguousarray(pixels[top : top + rows]).reshape(-1).data)

    def note_shift(self, key: str, shift: tuple[int, int]) -> None:
        self._shifts[key] = shift

    def written(self) -> Written:
        record = FileRecord(bytes=self._bytes, sha256=self._sha256.hexdigest())
        return Written(record=record, shifts=self._shifts)


@contextlib.contextmanager
def _npy_file(path: Path, shape: tuple[int, ...]) -> Iterator[_NpyFile]:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield _NpyFile(file, shape)


def _shape(task: ShardTask, output: Output) -> tuple[int, ...]:
    factor = 1 if output.track == HR else task.params.scale
    if task.patch:
        side = task.patch // factor
        return sum(piece.num_patches for piece in task.pieces), side, side, 3
    return _size(task.pieces[0].pair, task.params.scale, factor)


def _size(pair: ImagePair, scale: int, factor: int) -> tuple[int, int, int]:
    """The shape of an image of `pair` after cropping HR to a multiple of `scale`, divided by `factor`."""
    return pair.height // scale * scale // factor, pair.width // scale * scale // factor, 3


def _write_piece(task: ShardTask, piece: Piece, files: Sequence[_NpyFile], failures: list[str]) -> None:
    """Appends the patches of one photograph to all files; what cannot be used becomes lines in `failures`."""
    params, pair = task.params, piece.pair
    of_hr = [output.track == HR or degrade.needs_hr(pair, params, output.track) for output in task.outputs]
    hr: NDArray[np.uint8] | None = None
    if any(of_hr):
        with _collected(failures):
            decoded = crop_to_multiple(read_rgb(pair.hr, max_pixels=params.max_pixels), params.scale)
            _check_unchanged(pair.hr, piece, decoded, _size(pair, params.scale, 1))
            hr = decoded
    for output, file, takes_hr in zip(task.outputs, files, of_hr, strict=True):
        if takes_hr and hr is None:
            continue
        with _collected(failures):
            pixels = hr if output.track == HR else _lr(piece, hr, params, output, file)
            if not failures:  # otherwise the files are thrown away, and the rest is only looked at
                assert pixels is not None
                _cut(file, pixels, piece, task.patch, params.scale if output.track == HR else 1)


def _lr(
    piece: Piece, hr: NDArray[np.uint8] | None, params: DataParams, output: Output, file: _NpyFile
) -> NDArray[np.uint8]:
    pair = piece.pair
    lr = degrade.degraded(pair, hr, params, output.track, output.variant)
    if lr.shift is not None:
        file.note_shift(pair.key, lr.shift)
    for path in pair.lr.get(output.track, ())[output.variant : output.variant + 1]:
        _check_unchanged(path, piece, lr.pixels, _size(pair, params.scale, params.scale))
    return lr.pixels


@contextlib.contextmanager
def _collected(failures: list[str]) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        failures.append(str(error))


def _check_unchanged(path: Path, piece: Piece, pixels: NDArray[np.uint8], shape: tuple[int, int, int]) -> None:
    """After decoding: between two equal digests the content was that of the plan."""
    try:
        unchanged = pixels.shape == shape and record_of(path).sha256 == piece.digests[path]
    except OSError:
        unchanged = False
    if not unchanged:
        raise ImageError(f"{path}: was changed while shards were built; run the same command again")


def _cut(file: _NpyFile, pixels: NDArray[np.uint8], piece: Piece, patch: int, factor: int) -> None:
    """Appends the patches of `piece`, or the whole image, from `pixels`, which are `factor` times LR in size."""
    if not patch:
        file.append(pixels)
        return
    side = file.shape[1]
    for top in piece.tops:
        for left in piece.lefts:
            file.append(pixels[top * factor : top * factor + side, left * factor : left * factor + side])


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
