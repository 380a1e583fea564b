"""A run in a remote store: the same files as in its directory, put and brought so that each state is whole or absent.

    <storage.remote>/runs/<run>/params.json  metrics.jsonl  launches.jsonl  lock-<n>.json
                                checkpoints/step-N/…, manifest.json put last
                                best/step-N/…, files.json put last

What says that a checkpoint is there is its manifest, which holds the digest of its tensors; best weights have a
files.json of the same purpose. Best weights are put before the checkpoint that names them.
"""

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sr_core import files, remote
from sr_core.errors import CheckpointError, RemoteError, SrError
from sr_core.files import FileRecord
from sr_core.params import Params
from sr_core.remote import Moved, Store
from sr_core.train import checkpoint, history, lease, metrics_log, run
from sr_core.train.checkpoint import BEST, CHECKPOINTS, MANIFEST

HISTORY = history.NAME
TEXTS = (run.PARAMS, HISTORY, metrics_log.NAME)
LISTING = "files.json"  # of best weights, in the store only
INCOMING, OUTGOING = ".incoming", ".outgoing"  # below the run directory: what is on its way


def prefix_of(run_dir: Path) -> str:
    """The key below which the run is."""
    return f"runs/{run_dir.name}"


def put_directory(store: Store, key: str, path: Path, last: str, moved: Moved, check: Callable[[], object]) -> None:
    """Puts the files of `path`, `last` last; it is deleted first, so nobody takes old files for new ones.

    `check` is called before each and raises to end it.
    """
    check()
    store.delete(f"{key}/{last}")
    names = sorted(file.name for file in path.iterdir() if file.name != last)
    for name in [*names, last]:
        check()
        store.upload(path / name, f"{key}/{name}", moved)


def linked(source: Path, target: Path) -> Path:
    """`target` as a second name for each file of the directory `source`, which may then be deleted.

    Raises:
        FileNotFoundError: it was deleted already.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in source.iterdir():
        os.link(file, target / file.name)
    return target


def bring(store: Store, run_dir: Path, say: Callable[[str], None]) -> set[str]:
    """Brings to `run_dir` what the store has of the run and is newer; returns the checkpoints that are damaged there.

    The newest whole checkpoint counts, wherever it is. With one of the store's come its log and its best weights.

    Raises:
        CheckpointError: the store has checkpoints, none of them is whole, and there is none here.
        RemoteError: the store cannot be used.
    """
    prefix = prefix_of(run_dir)
    keys = store.sizes(prefix)
    if not (run_dir / run.PARAMS).exists() and (text := store.read(f"{prefix}/{run.PARAMS}")) is not None:
        files.write_atomic(run_dir / run.PARAMS, text)
    _merge_history(store, prefix, run_dir)
    steps = sorted((_step(key) for key in keys if key.endswith(f"/{MANIFEST}")), reverse=True)
    here = _newest_in(run_dir / CHECKPOINTS)
    rejected: dict[str, str] = {}
    for name in (name for name in steps if name > here):
        try:
            _bring_checkpoint(store, f"{prefix}/{CHECKPOINTS}/{name}", run_dir, name)
        except (CheckpointError, RemoteError) as error:
            if not _answers(store, prefix):
                raise
            rejected[name] = str(error)
            say(f"checkpoint not used: {error}")
            continue
        say(f"newest checkpoint: {store.url}/{prefix}/{CHECKPOINTS}/{name}")
        _bring_rest(store, prefix, run_dir, name, say)
        return set(rejected)
    if rejected and not here:
        raise CheckpointError(
            f"{store.url}/{prefix}: no checkpoint is whole ({'; '.join(rejected.values())}); expected one at least; "
            "delete it there to start again from step 0"
        )
    return set(rejected)


def _answers(store: Store, prefix: str) -> bool:
    """Whether a failure was about what the store holds; raises what it is otherwise."""
    store.sizes(prefix)
    return True


def _newest_in(directory: Path) -> str:
    """The name of the newest whole checkpoint in `directory`; empty if there is none."""
    try:
        path = checkpoint.newest(directory).path
    except CheckpointError:
        return ""
    return path.name if path else ""


def _step(key: str) -> str:
    return key.rpartition("/")[0].rpartition("/")[2]


def _bring_checkpoint(store: Store, key: str, run_dir: Path, name: str) -> None:
    incoming = run_dir / INCOMING
    for other in incoming.glob("step-*"):
        if other.name != name:
            shutil.rmtree(other)
    path = incoming / name
    _fetch_all(store, key, path, MANIFEST, lambda listing: listing["files"])
    if _newest_in(incoming) != name:  # every byte, and the manifest's own
        shutil.rmtree(path)
        raise CheckpointError(f"{store.url}/{key}/{MANIFEST}: does not match its own sha256")
    _commit(path, run_dir / CHECKPOINTS / name)


def _fetch_all(
    store: Store, key: str, path: Path, last: str, records: Callable[[Mapping[str, Mapping[str, FileRecord]]], object]
) -> None:
    """Fetches what the listing `last` names, and it; what is there from an interrupted try is kept if it is right."""
    text = store.read(f"{key}/{last}")
    try:
        found = records(json.loads(text or b""))
        wanted = {name: FileRecord(**record) for name, record in found.items()}  # type: ignore[attr-defined]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{store.url}/{key}/{last}: unreadable ({type(error).__name__})") from None
    for name, record in wanted.items():
        if Path(name).name != name:
            raise CheckpointError(f"{store.url}/{key}/{last}: names a file outside, {name!r}")
        if files.mismatch(path / name, record):
            remote.fetch(store, f"{key}/{name}", path / name, record)
    files.write_atomic(path / last, text or b"")


def _commit(path: Path, target: Path) -> None:
    with files.commit_directory(target) as partial:
        for file in path.iterdir():
            os.link(file, partial / file.name)
    shutil.rmtree(path)


def _bring_rest(store: Store, prefix: str, run_dir: Path, name: str, say: Callable[[str], None]) -> None:
    """The log up to the checkpoint `name` and further, and the best weights that it names."""
    if (log := store.read(f"{prefix}/{metrics_log.NAME}")) is not None:
        files.write_atomic(run_dir / metrics_log.NAME, log)
    best_step = json.loads((run_dir / CHECKPOINTS / name / MANIFEST).read_bytes())["best_step"]
    if best_step is None:
        return
    target = run.best_directory(run_dir, best_step)
    if target.exists():
        return
    path = run_dir / INCOMING / f"best-{target.name}"
    try:
        _fetch_all(store, f"{prefix}/{BEST}/{target.name}", path, LISTING, lambda listing: listing)
    except (CheckpointError, RemoteError) as error:
        say(f"best weights not brought: {error}")
        return
    (path / LISTING).unlink()
    _commit(path, target)


def _merge_history(store: Store, prefix: str, run_dir: Path) -> None:
    """The launches of all hosts, in the order of their times."""
    theirs = (store.read(f"{prefix}/{HISTORY}") or b"").decode(errors="replace").splitlines()
    path = run_dir / HISTORY
    ours = path.read_text(errors="replace").splitlines() if path.exists() else []
    if theirs and ours[: len(theirs)] != theirs:
        merged = sorted(dict.fromkeys([*theirs, *ours]), key=_time)
        files.write_atomic(path, "".join(f"{line}\n" for line in merged))


def _time(line: str) -> float:
    try:
        return float(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def listing_of(path: Path) -> bytes:
    """files.json of the best weights in `path`."""
    records = {file.name: files.record_of(file) for file in sorted(path.iterdir()) if file.name != LISTING}
    return files.to_json({name: {"bytes": one.bytes, "sha256": one.sha256} for name, one in records.items()}).encode()


def prune(store: Store, run_dir: Path, newest: str, *, keep: int) -> None:
    """Removes the store's checkpoints beyond the `keep` newest up to `newest`, those after it, and best weights that
    neither they nor this directory speak of."""
    prefix = prefix_of(run_dir)
    keys = list(store.sizes(prefix))
    manifests = sorted((_step(key) for key in keys if key.endswith(f"/{MANIFEST}")), reverse=True)
    kept = [name for name in manifests if name <= newest][:keep]
    stale = [key for key in keys if f"/{CHECKPOINTS}/" in key and _step(key) not in kept]
    named = {path.name for path in (run_dir / BEST).glob("step-*")}
    for name in kept:
        best_step = json.loads(store.read(f"{prefix}/{CHECKPOINTS}/{name}/{MANIFEST}") or b"{}").get("best_step")
        named |= {run.best_directory(run_dir, best_step).name} if best_step is not None else set()
    stale += [key for key in keys if f"/{BEST}/" in key and _step(key) not in named]
    for key in sorted(stale, key=lambda key: not key.endswith((f"/{MANIFEST}", f"/{LISTING}"))):  # these first
        store.delete(key)


@contextlib.contextmanager
def followed(params: Params, run_dir: Path, *, every_s: float = 5.0) -> Iterator[None]:
    """Has in `run_dir` what the store knows of a run whose rank 0 is on another host: parameters, log, history.

    For whoever shows a run while it goes on. Without a store, or where rank 0 writes to `run_dir` itself, does nothing.
    What cannot be had now is tried again at the next look; raises nothing.
    """
    storage = params.storage
    if storage.remote is None:
        yield
        return
    store, over = remote.open_store(storage.remote, storage.endpoint), threading.Event()

    def follow() -> None:
        while not over.wait(every_s):
            with contextlib.suppress(SrError, OSError):
                _copy_texts(store, run_dir)

    thread = threading.Thread(target=follow, name="followed", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(every_s)


def _copy_texts(store: Store, run_dir: Path) -> None:
    prefix = prefix_of(run_dir)
    for name in TEXTS:
        text, path = store.read(f"{prefix}/{name}"), run_dir / name
        if text is None or _is_written_here(store, run_dir) or (path.exists() and path.read_bytes() == text):
            continue
        files.write_atomic(path, text)


def _is_written_here(store: Store, run_dir: Path) -> bool:
    owner = lease.newest(store, prefix_of(run_dir))[1]
    return (owner.get("host"), owner.get("directory")) == (socket.gethostname(), str(run_dir.resolve()))


def picture(url: str, endpoint: str | None, folder: Path) -> Path:
    """A directory below `folder` with what tells how far the run at `url` has come: no weights.

    Raises:
        RemoteError: the store cannot be used.
    """
    base, _, name = url.rstrip("/").rpartition("/runs/")
    store, run_dir = remote.open_store(base or url, endpoint), folder / (name or "run")
    prefix = prefix_of(run_dir)
    for key in store.sizes(prefix):
        if key.rpartition("/")[2] in {*TEXTS, MANIFEST} and (text := store.read(key)) is not None:
            files.write_atomic(folder / key.removeprefix("runs/"), text)
    owner = lease.newest(store, prefix)[1]
    if owner and not owner["released"]:
        text = files.to_json({"host": owner["host"], "pid": owner["pid"], "launcher": owner["pid"]}).encode()
        files.write_atomic(run_dir / ".lock", text)
    return run_dir
