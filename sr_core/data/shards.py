"""Building shards: photographs in, uint8 .npy arrays out, that training maps into memory.

Decoding a PNG for every crop costs two hundred times more than copying the crop out of a mapped array. What is
built is planned first, as a pure function of the photographs and the parameters; then one task per file runs,
in any process and order; index.json is written last. Unchanged and whole shards are left alone, damaged ones
are built again, and HR shards are shared by all degradations.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sr_core.data.grid import STORED_LIMIT, offsets, patch_side
from sr_core.data.index import (
    HR,
    INDEX,
    VERSION,
    DataVersion,
    ShardIndex,
    damaged,
    load_index,
    shard_directories,
    verify,
    version_of,
    write_index,
)
from sr_core.data.pairs import SPLITS, ImagePair, Split, find_all_pairs
from sr_core.data.sources import dataset_name, materialise
from sr_core.data.writers import Piece, RunTasks, ShardTask, in_processes, noted, write_shard
from sr_core.errors import ImageError, ShardError, listed
from sr_core.files import FileRecord, digest_of, lock_directory, record_of
from sr_core.params import DataParams
from sr_core.progress import Progress

__all__ = ["DataVersion", "RunTasks", "ShardIndex", "build", "load_index", "plan", "verify"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrackPlan:
    """One directory of shards to be: the tasks that fill it, and its index, which still lacks the files."""

    name: str  # train/hr, …
    directory: Path
    tasks: tuple[ShardTask, ...]
    index: ShardIndex


def build(params: DataParams, *, progress: Progress, run_tasks: RunTasks | None = None) -> DataVersion:
    """Makes the shards for `params` complete, HR and `params.degradation`, and returns their version.

    `run_tasks` replaces the `params.num_writers` processes.

    Raises:
        SourceError: the photographs are absent or incomplete.
        ImageError: some photographs cannot be used; lists all of them.
        ShardError: the parameters make no sensible shards, or files cannot be written.
        BusyError: another process builds them.
    """
    # absolute paths: writers may run in another working folder
    params = dataclasses.replace(params, root=str(Path(params.root).resolve()))
    raw = materialise(params, progress=progress).resolve()
    pairs = find_all_pairs(params, raw)
    plans = plan(params, pairs, _digests(pairs, params.num_writers))
    # the lock lies outside of what it guards, which DVC hashes
    with lock_directory(Path(params.root) / ".locks" / f"shards-{dataset_name(params)}-x{params.scale}"):
        finished = _finished(plans, progress)
        todo = [task for each in plans for task in each.tasks if task.path not in finished]
        try:
            finished |= _run(todo, run_tasks or in_processes(params.num_writers), progress)
            indexes = {each.name: _finish(each, finished) for each in plans}
        except OSError as error:
            reason = error.strerror or str(error)
            raise ShardError(f"{error.filename or params.root}: {reason}; mend it and run again") from None
    version = version_of(indexes)
    progress.say(_summary(plans, version))
    return version


def plan(
    params: DataParams, pairs: Mapping[Split, Sequence[ImagePair]], digests: Mapping[Path, str]
) -> tuple[TrackPlan, ...]:
    """What to build: a function of its arguments alone. `digests` are the sha256 of the photographs' files.

    Raises:
        ShardError: patches hardly larger than a crop, so that every pixel would be stored many times.
    """
    smallest = min(pairs["train"], key=lambda pair: min(pair.height, pair.width))
    patch = patch_side(
        crop=params.crop, scale=params.scale, smallest=min(smallest.height, smallest.width), wanted=params.patch
    )
    plans = []
    for split in SPLITS:
        side = patch if split == "train" else 0
        pieces = [_piece(pair, params, side, digests) for pair in pairs[split]]
        groups = _grouped(pieces, side, params.shard_bytes)
        hr_digest = ""
        for track in (HR, params.degradation):
            each = _track_plan(params, split, track, groups, patch=side, hr_digest=hr_digest)
            hr_digest = each.index.hr_digest
            plans.append(each)
    if plans[0].index.stored_per_raw > STORED_LIMIT:
        raise ShardError(
            f"data.crop: crops of {params.crop} x {params.scale} HR pixels out of patches of {patch} would store every "
            f"pixel {plans[0].index.stored_per_raw:.0f} times; lower data.crop, raise data.patch, or take out images "
            f"as small as {smallest.hr}"
        )
    return tuple(plans)


def _piece(pair: ImagePair, params: DataParams, patch: int, digests: Mapping[Path, str]) -> Piece:
    lr = pair.lr.get(params.degradation)
    piece = Piece(pair=pair, hr_sha256=digests[pair.hr], lr_sha256=None if lr is None else digests[lr[0]])
    if not patch:
        return piece
    tops, lefts = (
        offsets(length // params.scale, patch=patch // params.scale, crop=params.crop)
        for length in (pair.height, pair.width)
    )
    return dataclasses.replace(piece, tops=tops, lefts=lefts)


def _grouped(pieces: Sequence[Piece], patch: int, shard_bytes: int) -> dict[str, tuple[Piece, ...]]:
    """By file name, the consecutive photographs that go into it."""
    if not patch:
        return {f"{piece.pair.key}.npy": (piece,) for piece in pieces}
    groups: list[list[Piece]] = []
    filled = shard_bytes
    for piece in pieces:
        if filled >= shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(piece)
        filled += piece.num_patches * patch * patch * 3
    return {f"shard-{i:05}.npy": tuple(group) for i, group in enumerate(groups)}


def _track_plan(
    params: DataParams, split: Split, track: str, groups: Mapping[str, tuple[Piece, ...]], *, patch: int, hr_digest: str
) -> TrackPlan:
    """The plan of one directory; `hr_digest` is empty for the HR track, which gives it."""
    name = f"{split}/{track}"
    directory = shard_directories(params)[name]
    tasks = tuple(
        ShardTask(path=directory / file, track=track, scale=params.scale, patch=patch, pieces=pieces)
        for file, pieces in groups.items()
    )
    pieces = [piece for task in tasks for piece in task.pieces]
    count = sum(piece.num_patches for piece in pieces) if patch else len(pieces)
    source_digest = digest_of([task.source_digest for task in tasks])
    raw_pixels = sum(piece.pair.height * piece.pair.width for piece in pieces)
    index = ShardIndex(
        version=VERSION,
        scale=params.scale,
        split=split,
        track=track,
        kind="patches" if patch else "images",
        patch=patch,
        crop=params.crop if patch else 0,
        count=count,
        stored_per_raw=round(count * patch * patch / raw_pixels, 3) if patch else 1.0,
        keys=tuple(piece.pair.key for piece in pieces),
        source_digest=source_digest,
        hr_digest=hr_digest or source_digest,
        files={},
    )
    return TrackPlan(name=name, directory=directory, tasks=tasks, index=index)


def _digests(pairs: Mapping[Split, Sequence[ImagePair]], num_threads: int) -> dict[Path, str]:
    every = [pair for split in pairs.values() for pair in split]
    files = [file for pair in every for file in (pair.hr, *(file for lr in pair.lr.values() for file in lr))]
    with ThreadPoolExecutor(num_threads) as pool:
        return dict(zip(files, (record.sha256 for record in pool.map(record_of, files)), strict=True))


def _summary(plans: Sequence[TrackPlan], version: DataVersion) -> str:
    train, valid = (next(each.index for each in plans if each.index.split == split) for split in SPLITS)
    return (
        f"{len(train.keys)} photographs in {train.count} patches of {train.patch}x{train.patch} pixels for training, "
        f"{valid.count} for validation: data version {version.digest[:12]}"
    )


def _finished(plans: Sequence[TrackPlan], progress: Progress) -> dict[Path, FileRecord]:
    """The records of all files that stand as planned; an index of other sources is taken away."""
    progress.start("Checking shards", total=len(plans))
    finished: dict[Path, FileRecord] = {}
    for each in plans:
        files = _recorded(each)
        damage = damaged(each.directory, files)
        if damage:
            progress.say(f"{each.directory}: built again:{listed(list(damage.values()))}")
        finished |= {each.directory / name: record for name, record in files.items() if name not in damage}
        progress.advance()
    return finished


def _recorded(each: TrackPlan) -> Mapping[str, FileRecord]:
    """What the index says of the files, or the notes beside them where it was not written yet."""
    try:
        index = load_index(each.directory)
    except ShardError:
        index = None
    if index is not None and index.source_digest == each.index.source_digest:
        return index.files
    (each.directory / INDEX).unlink(missing_ok=True)
    return {task.path.name: record for task in each.tasks if (record := noted(task)) is not None}


def _run(todo: Sequence[ShardTask], run_tasks: RunTasks, progress: Progress) -> dict[Path, FileRecord]:
    if todo:
        progress.start("Writing shards", total=len(todo))
    finished: dict[Path, FileRecord] = {}
    failures: set[str] = set()
    for result in run_tasks(write_shard, todo):
        progress.advance()
        failures.update(result.failures)
        if result.record is not None:
            finished[result.path] = result.record
    if failures:
        raise ImageError(f"{len(failures)} images cannot be used:{listed(sorted(failures))}")
    return finished


def _finish(each: TrackPlan, finished: Mapping[Path, FileRecord]) -> ShardIndex:
    """Writes the index if it is new, and sweeps what it does not name."""
    index = dataclasses.replace(each.index, files={task.path.name: finished[task.path] for task in each.tasks})
    try:
        current = load_index(each.directory) == index
    except ShardError:
        current = False
    if not current:
        write_index(each.directory, index)
    for file in each.directory.iterdir():
        if file.name != INDEX and file.name not in index.files:
            file.unlink()
    return index
