"""Building shards: photographs in, uint8 .npy arrays out, that training maps into memory.

Decoding a PNG for every crop costs two hundred times more than copying the crop out of a mapped array. What is
built is planned first, as a pure function of the photographs and the parameters; then one task per group of
photographs runs, in any process and order; index.json is written last. Unchanged and whole shards are left alone,
damaged ones are built again, and HR shards are shared by all degradations.
"""

import itertools
import shutil
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sr_core.data.archives import Split
from sr_core.data.extract import check_digests
from sr_core.data.index import (
    INDEX,
    MIXED,
    DataVersion,
    ShardIndex,
    damaged,
    directory_of,
    load_index,
    verify,
    version_of,
    write_index,
)
from sr_core.data.mixed import mixed_index
from sr_core.data.pairs import SPLITS, ImagePair, find_all_pairs
from sr_core.data.plans import Plan, TrackPlan, plan
from sr_core.data.sources import dataset_name, materialise
from sr_core.data.writers import RunTasks, ShardTask, Written, in_processes, noted, write_shards
from sr_core.errors import ImageError, ShardError, listed
from sr_core.files import lock_directory, record_of
from sr_core.params import DataParams
from sr_core.progress import Progress

__all__ = ["DataVersion", "RunTasks", "ShardIndex", "build", "load_index", "plan", "verify"]


def build(params: DataParams, *, progress: Progress, run_tasks: RunTasks | None = None) -> DataVersion:
    """Makes the shards for `params` complete, HR and `params.degradation`, and returns their version.

    `run_tasks` replaces the `params.num_writers` processes.

    Raises:
        SourceError: the photographs are absent or incomplete.
        ImageError: some photographs cannot be used; lists all of them.
        ShardError: the parameters make no sensible shards, or files cannot be written.
        BusyError: another process builds them.
    """
    params = params.with_absolute_paths()
    raw = materialise(params, progress=progress).resolve()
    pairs = find_all_pairs(params, raw)
    digests = _digests(pairs, params.num_writers, progress)
    check_digests(raw, digests)
    planned = plan(params, pairs, digests)
    for line in planned.remarks:
        progress.say(line)
    # the lock lies outside of what it guards, which DVC hashes
    with lock_directory(Path(params.root) / ".locks" / f"shards-{dataset_name(params)}-x{params.scale}"):
        try:
            finished = _finished(planned, progress)
            todo = planned.tasks(without=finished)
            finished |= _run(todo, run_tasks or in_processes(params.num_writers), progress)
            indexes = {each.name: _finish(each.directory, each.with_files(finished)) for each in planned.tracks}
            if params.degradation == MIXED:
                for split in SPLITS:
                    index = mixed_index(params, split, indexes)
                    indexes[f"{split}/{MIXED}"] = _finish(directory_of(params, split, MIXED), index)
            _remove_old_variants(params, planned)
        except ConnectionError:
            raise  # the workers', not the disk's
        except OSError as error:
            reason = error.strerror or str(error)
            raise ShardError(f"{error.filename or params.root}: {reason}; mend it and run again") from None
    version = version_of(indexes)
    progress.say(_summary(planned.tracks, version))
    return version


def _remove_old_variants(params: DataParams, planned: Plan) -> None:
    """Removes the directories of versions that a track had and has no more."""
    for index in (each.index for each in planned.tracks):
        for i in itertools.count(index.variants):
            directory = directory_of(params, index.split, f"{index.track}-{i}")
            if not directory.is_dir():
                break
            shutil.rmtree(directory)


def _digests(pairs: Mapping[Split, Sequence[ImagePair]], num_threads: int, progress: Progress) -> dict[Path, str]:
    """The sha256 of the photographs' files: what tells whether shards are of them."""
    every = [pair for split in pairs.values() for pair in split]
    files = list(
        dict.fromkeys(file for pair in every for file in (pair.hr, *(f for lr in pair.lr.values() for f in lr)))
    )
    progress.start("Reading photographs", total=len(files))
    digests = {}
    with ThreadPoolExecutor(num_threads) as pool:
        for file, record in zip(files, pool.map(record_of, files), strict=True):
            digests[file] = record.sha256
            progress.advance()
    return digests


def _summary(tracks: Sequence[TrackPlan], version: DataVersion) -> str:
    train, valid = (next(each.index for each in tracks if each.index.split == split) for split in SPLITS)
    return (
        f"{len(train.keys)} photographs in {train.count} patches of {train.patch}x{train.patch} pixels for training "
        f"(stored/raw {train.stored_per_raw:.2f}), {valid.count} for validation: data version {version.digest[:12]}"
    )


def _finished(planned: Plan, progress: Progress) -> dict[Path, Written]:
    """What stands as planned, by path; an index of other sources is taken away, and what killed writers left."""
    recorded = {path: written for each in planned.tracks for path, written in _recorded(each).items()}
    if recorded:
        progress.start("Checking shards", total=len(recorded))
    damage = damaged({path: written.record for path, written in recorded.items()}, progress=progress)
    by_folder: dict[Path, list[str]] = defaultdict(list)
    for path, text in damage.items():
        by_folder[path.parent].append(text)
    for folder, lines in by_folder.items():
        progress.say(f"{folder}: built again:{listed(lines)}")
    return {path: written for path, written in recorded.items() if path not in damage}


def _recorded(each: TrackPlan) -> dict[Path, Written]:
    """What the index says of the files, or the notes beside them where it was not written yet."""
    for left in each.directory.glob(".*.tmp.npy"):
        left.unlink(missing_ok=True)
    try:
        index = load_index(each.directory)
    except ShardError:
        index = None
    if index is not None and index.source_digest == each.index.source_digest:
        return each.written(index)
    (each.directory / INDEX).unlink(missing_ok=True)
    return {output.path: written for output in each.outputs if (written := noted(output)) is not None}


def _run(todo: Sequence[ShardTask], run_tasks: RunTasks, progress: Progress) -> dict[Path, Written]:
    if todo:
        progress.start("Writing shards", total=len(todo))
    finished: dict[Path, Written] = {}
    failures: set[str] = set()
    results = run_tasks(write_shards, todo)
    try:
        for result in results:
            if result.error is not None:
                raise ShardError(result.error)
            progress.advance()
            failures.update(result.failures)
            finished |= result.written
    finally:
        if isinstance(results, Generator):  # its workers end now, not when it is collected
            results.close()
    if failures:
        raise ImageError(f"{len(failures)} images cannot be used:{listed(sorted(failures))}")
    return finished


def _finish(directory: Path, index: ShardIndex) -> ShardIndex:
    """Writes the index if it is new, and sweeps what it does not name."""
    try:
        current = load_index(directory) == index
    except ShardError:
        current = False
    if not current:
        write_index(directory, index)
    for file in directory.iterdir():
        if file.name != INDEX and file.name not in index.files:
            file.unlink()
    return index
