"""Shards of hosts that share no disk: pushed to the remote store once, pulled by each host to its own.

    <storage.remote>/shards/<dataset>/x<S>/<split>/<member>/      as below data.root

The remote's index.json says what the shards are; it is written last there and here, and every byte that comes is held
against its sha256. What is there already and right is not moved again, and an interrupted pull goes on.
"""

import errno
import functools
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sr_core import files, remote
from sr_core.data import index as indexes
from sr_core.data.index import INDEX, ShardIndex
from sr_core.data.patches import fitting
from sr_core.data.sources import dataset_name
from sr_core.errors import ShardError
from sr_core.params import Params
from sr_core.progress import QUIET, Progress, size_text
from sr_core.remote import Store
from sr_core.world import World

T = TypeVar("T")

NUM_THREADS = 4  # files on their way at once


def bring(
    params: Params,
    world: World,
    *,
    verify: bool = True,
    progress: Progress = QUIET,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Has each host's local rank 0 pull the shards for `params`, if there is a remote store; all ranks wait for all.

    Raises:
        ShardError, RemoteError: as `pull`, on every rank.
        StoppedError: `should_stop` said so on a rank; what has come stays, and the next pull goes on with it.
    """
    if params.storage.remote is None:
        return
    mine = functools.partial(pull, params, verify=verify, progress=progress) if world.local_rank == 0 else None
    world.meeting(mine, should_stop=should_stop)


def data_digest(params: Params) -> str:
    """The data version of the shards for `params`, from their indexes alone: the remote's where there is one.

    Raises:
        ShardError, RemoteError: as `pull`.
    """
    store = _store(params)
    load = indexes.load_index if store is None else _reader(store, params)
    return indexes.version_of(fitting(params.data, load)[1]).digest


def push(params: Params, *, progress: Progress) -> None:
    """Puts into the remote store, if there is one, what it lacks of the shards for `params`."""
    store = _store(params)
    if store is None:
        return
    folders = indexes.shard_directories(params.data)
    for folder in folders.values():
        index = indexes.load_index(folder)
        if (there := _there(store, params, folder)) != index:
            _push(store, _key(params, folder), folder, index, there, progress)
    progress.say(f"shards: {store.url}/{_key(params, Path(params.data.root) / 'shards')} has all {len(folders)} parts")


def _push(
    store: Store, key: str, folder: Path, index: ShardIndex, there: ShardIndex | None, progress: Progress
) -> None:
    sizes = store.sizes(key)
    known = there.files if there is not None else {}
    # first: of files that were put by a push that was interrupted, nobody could tell whether they are these
    store.delete(f"{key}/{INDEX}")
    todo = {
        name: record
        for name, record in index.files.items()
        if known.get(name) != record or sizes.get(f"{key}/{name}") != record.bytes
    }
    progress.start(f"Pushing {key}", sum(record.bytes for record in todo.values()), unit="bytes")
    moved = _together(progress)
    _in_threads(lambda name: store.upload(folder / name, f"{key}/{name}", moved), todo)
    store.write(f"{key}/{INDEX}", (folder / INDEX).read_bytes())
    for name in sizes:
        if name.rpartition("/")[2] not in {INDEX, *index.files}:
            store.delete(name)


def pull(params: Params, *, verify: bool = True, progress: Progress = QUIET) -> None:
    """Has the shards for `params` below `data.root` as the remote store has them, every byte verified.

    Without `verify`, files of the right size below the right index are taken to be right.

    Raises:
        ShardError: the store has none for these parameters; the disk is full.
        RemoteError: the store cannot be reached, refuses, or holds something damaged.
    """
    store = _store(params)
    assert store is not None, "the caller looks"
    folders, found = fitting(params.data, _reader(store, params))
    lock = Path(params.data.root) / ".locks" / f"pull-{dataset_name(params.data)}-x{params.data.scale}"
    with files.wait_for_lock(lock):
        whole = {folder for name, folder in folders.items() if _here(folder) == found[name]}
        for folder in set(folders.values()) - whole:
            (folder / INDEX).unlink(missing_ok=True)  # what it names may be replaced from now on
        wanted = {folders[name] / file: record for name, index in found.items() for file, record in index.files.items()}
        trusted = {path for path in wanted if not verify and path.parent in whole}
        lacking = {path for path in trusted if files.size_mismatch(path, wanted[path])}
        read = {path: record for path, record in wanted.items() if path not in trusted and path.exists()}
        if read:
            progress.start("Verifying shards", total=len(read))
        lacking |= set(indexes.damaged(read, progress=progress)) | (wanted.keys() - trusted - read.keys())
        _fetch(store, params, {path: wanted[path] for path in wanted if path in lacking}, progress)
        for name, folder in folders.items():
            _finish(folder, found[name])


def _fetch(store: Store, params: Params, todo: dict[Path, files.FileRecord], progress: Progress) -> None:
    if not todo:
        return
    root, total = Path(params.data.root), sum(record.bytes for record in todo.values())
    root.mkdir(parents=True, exist_ok=True)
    progress.start(f"Fetching shards from {store.url}", total, unit="bytes")
    moved = _together(progress)
    try:
        left = sum(part.stat().st_size for path in todo for part in path.parent.glob(f".{path.name}.*.part"))
        if (free := shutil.disk_usage(root).free) < total - left:
            raise OSError(
                errno.ENOSPC, f"has {size_text(free)} free, and the shards need {size_text(total)}", str(root)
            )
        _in_threads(lambda path: remote.fetch(store, _key(params, path), path, todo[path], moved=moved), todo)
    except OSError as error:
        raise ShardError(
            f"{error.filename or root}: {error.strerror or error}; mend it and run the same command again, "
            "which goes on with what is missing"
        ) from None


def _finish(folder: Path, index: ShardIndex) -> None:
    if _here(folder) != index:
        folder.mkdir(parents=True, exist_ok=True)
        indexes.write_index(folder, index)
    for file in folder.iterdir():
        if file.name != INDEX and file.name not in index.files:
            file.unlink()


def _here(folder: Path) -> ShardIndex | None:
    try:
        return indexes.load_index(folder)
    except ShardError:
        return None


def _store(params: Params) -> Store | None:
    storage = params.storage
    return None if storage.remote is None else remote.open_store(storage.remote, storage.endpoint)


def _key(params: Params, path: Path) -> str:
    return path.relative_to(params.data.root).as_posix()


def _there(store: Store, params: Params, folder: Path) -> ShardIndex | None:
    try:
        return _reader(store, params)(folder)
    except ShardError:
        return None


def _reader(store: Store, params: Params) -> indexes.Load:
    """Reads the remote's index of a directory that would be below `data.root`, once."""

    @functools.cache
    def load(folder: Path) -> ShardIndex:
        key = f"{_key(params, folder)}/{INDEX}"
        text = store.read(key)
        if text is None:
            raise ShardError(
                f"{store.url}/{_key(params, folder)}: holds no finished shards; run `python -m flows.prepare` or "
                "`python -m sr_core shard` with this storage.remote, where the photographs are"
            )
        return indexes.parse_index(text, f"{store.url}/{key}")

    return load


def _together(progress: Progress) -> Callable[[int], None]:
    """`progress.advance` for several threads."""
    lock = threading.Lock()

    def moved(num_bytes: int) -> None:
        with lock:
            progress.advance(num_bytes)

    return moved


def _in_threads(call: Callable[[T], object], items: Iterable[T]) -> None:
    """`call` for each; the first error ends what has not begun."""
    with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="sync") as pool:
        running = [pool.submit(call, item) for item in items]
        try:
            for one in running:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
