"""A thread that does something whenever a file has grown, beside work that must never feel it."""

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

# how long the last act may take: after a cancel, which must be quick, and otherwise
CANCELLED_S, FINISHED_S = 5.0, 15.0

Outcome = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@contextlib.contextmanager
def following(
    path: Path, act: Callable[[Outcome], bool], *, every_s: float, late: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Looks at `path` every `every_s` seconds until the block is left, and calls `act` if its size has changed.

    While `act`, which raises nothing, returns False it is called again at the next look. When the block is left it is
    called once more and told how: FAILED after an error, KILLED after a cancel. All calls are in a thread, which has
    FINISHED_S seconds for the last (CANCELLED_S after a cancel); then `late` is called and the thread is left to
    itself.
    """
    over = threading.Event()
    outcome: Outcome = "KILLED"

    def follow() -> None:
        done_size = -1
        while not over.wait(every_s):
            size = path.stat().st_size if path.exists() else -1
            if size != done_size and act("RUNNING"):
                done_size = size
        act(outcome)

    context = contextvars.copy_context()  # of a flow run: Prefect knows its task by it
    thread = threading.Thread(target=context.run, args=(follow,), name=f"follow-{path.name}", daemon=True)
    thread.start()
    wait_s = CANCELLED_S
    try:
        yield
        wait_s, outcome = FINISHED_S, "FINISHED"
    except Exception:
        wait_s, outcome = FINISHED_S, "FAILED"
        raise
    finally:
        over.set()
        thread.join(wait_s)
        if thread.is_alive():
            late()
