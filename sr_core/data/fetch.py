"""Files from HTTP servers, complete and verified, whatever the network, the server and the power do.

A file comes in requests of one chunk each (RFC 9110, section 14: Range and If-Range), and what came is recorded after
each, so that a kill costs at most one chunk; a server that ignores ranges sends it whole. A failed attempt is repeated
after a growing pause. The digest is computed as the bytes come, so that nothing is read again at the end; of a part
that an earlier process left, once. A file that is there already is hashed: no record of it could be trusted more.

Threads fetch (`transfer.py`, on `part.py` and `web.py`), and the calling thread watches them: it shows progress, cuts
connections that drip, and at Ctrl-C all of them.
"""

import dataclasses
import errno
import queue
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeAlias

from sr_core.data.transfer import Download, FetchPolicy, Transfer
from sr_core.errors import SourceError, explained, listed
from sr_core.progress import Progress, size_text

__all__ = ["Download", "FetchPolicy", "fetch"]

LOOK_EVERY_S = 0.1
DEFAULT = FetchPolicy()

_Futures: TypeAlias = Mapping[Future[None], Transfer]
_News: TypeAlias = "queue.SimpleQueue[str]"


def fetch(
    downloads: Sequence[Download], folder: Path, *, parallel: int, progress: Progress, policy: FetchPolicy = DEFAULT
) -> dict[str, Path]:
    """The files of `downloads` in `folder`, verified, by name; `parallel` of them come at once.

    What is there already is used. A file that another process is fetching is waited for. When one cannot be had the
    others still come, and parts stay for the next call to go on from.

    Raises:
        SourceError: files cannot be had, are not what was expected, or find no room; lists all of them.
    """
    stop, news = threading.Event(), queue.SimpleQueue[str]()
    # what is under way is lost when this process is killed: a chunk in all, not one of each
    policy = dataclasses.replace(
        policy, chunk_bytes=max(1, policy.chunk_bytes // min(parallel, max(1, len(downloads))))
    )
    transfers = [Transfer(download, folder, policy, stop=stop, say=news.put) for download in downloads]
    todo = _check_space(transfers, folder)
    if todo != 0:
        label = downloads[0].name if len(downloads) == 1 else f"{len(downloads)} files"
        progress.start(f"Fetching {label}", total=todo, unit="bytes")
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="fetch") as pool:
        futures = {pool.submit(transfer.run): transfer for transfer in transfers}
        try:
            _watch(futures, news, progress)
        finally:
            stop.set()
            while wait(futures, timeout=LOOK_EVERY_S).not_done:
                for transfer in transfers:
                    transfer.cut("stopped")
    _raise_failures(futures)
    return {transfer.download.name: transfer.path for transfer in transfers}


def _watch(futures: _Futures, news: _News, progress: Progress) -> None:
    """Until all have ended."""
    pending, shown = set(futures), sum(transfer.position for transfer in futures.values())
    while pending:
        _, pending = wait(pending, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
        position = sum(transfer.position for transfer in futures.values())
        if position != shown:
            progress.advance(position - shown)
            shown = position
        for transfer in futures.values():
            transfer.cut_if_slow()
        while not news.empty():
            progress.say(news.get())


def _check_space(transfers: Sequence[Transfer], folder: Path) -> int | None:
    """The bytes that are still to come, or None where a size is not known.

    Raises:
        SourceError: there is no room for them all.
    """
    sizes = [transfer.download.bytes for transfer in transfers]
    todo = [size - transfer.position for size, transfer in zip(sizes, transfers, strict=True) if size is not None]
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if sum(todo) > free:
        raise SourceError(
            f"{folder}: {len(transfers)} files to fetch need another {size_text(sum(todo))}, and the disk has "
            f"{size_text(free)} free; make room, or set data.root to a folder on a larger disk"
        )
    return None if None in sizes else sum(todo)


def _raise_failures(futures: _Futures) -> None:
    lines, advice = [], []
    for future, transfer in futures.items():
        match future.exception():
            case None:
                continue
            case SourceError() as error:
                lines.append(str(error))
                advice.append(transfer.download.advice)
            case OSError() as error:
                lines.append(str(explained(error)))
                advice.append("make room on the disk" if error.errno in {errno.ENOSPC, errno.EDQUOT} else _WRITABLE)
            case BaseException() as error:
                raise error
    if lines:
        what_to_do = "; ".join(dict.fromkeys(advice))
        raise SourceError(f"{len(lines)} of {len(futures)} files cannot be fetched; {what_to_do}:{listed(lines)}")


_WRITABLE = "see that the folder can be written"
