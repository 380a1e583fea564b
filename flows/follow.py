"""A thread that does something whenever a file has grown, beside work that must never feel it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

# how long the thread may take over what it is at: after a cancel, which must be quick, and otherwise
CANCELLED_S, FINISHED_S = 3.0, 30.0


@contextlib.contextmanager
def following(path: Path, act: Callable[[], bool], *, every_s: float) -> Iterator[None]:
    """Looks at `path` every `every_s` seconds until the block is left, and calls `act` if its size has changed.

    While `act` returns False it is called again at the next look. Leaving the block waits for a running `act`, but
    for FINISHED_S at most, or for CANCELLED_S when an exception leaves it.
    """
    over = threading.Event()
    name = f"follow-{path.name}"
    thread = threading.Thread(target=_follow, args=(path, act, over, every_s), name=name, daemon=True)
    thread.start()
    wait_s = CANCELLED_S
    try:
        yield
        wait_s = FINISHED_S
    finally:
        over.set()
        thread.join(wait_s)


def _follow(path: Path, act: Callable[[], bool], over: threading.Event, every_s: float) -> None:
    done_size = -1
    while not over.wait(every_s):
        size = path.stat().st_size if path.exists() else -1
        if size != done_size and act():
            done_size = size
