"""A program in a session of its own that never outlives the one who started it.

Ray replaces Prefect's signal handlers, so training runs as a child process, which cancels cleanly
(docs/architecture.md, decision 8). Each Ray worker leads a process group of its own, but all of them stay in the
child's session: ending means the session.

    launcher dies   the child's standard input, a pipe, ends; the child ends its session (`follow_launcher`)
    launcher leaves `run` is in its `finally`: first a polite request, then SIGTERM, then SIGKILL
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from sr_core.files import LAUNCHER_PID

TERM_GRACE_S = 2.0  # from SIGTERM to SIGKILL
KILL_WAIT_S = 5.0  # for the kernel to take away what was killed


def run(
    command: Sequence[str],
    *,
    say: Callable[[str], None] | None,
    errors: Path,
    ask_to_stop: Callable[[], None],
    has_stopped: Callable[[], bool],
    stop_grace_s: Callable[[], float],
) -> int:
    """Runs `command` to its end and returns its exit code; on leaving, nothing of its session is alive.

    Its output goes line by line to `say` (from another thread), or, with None, wherever this process's goes; what
    it writes to standard error goes to the file `errors`. When this call is interrupted, `ask_to_stop` is called
    and the child has `stop_grace_s()` seconds, or until `has_stopped`, to finish what must not be lost. Meanwhile
    another SIGTERM changes nothing; another SIGINT ends it at once.
    """
    with errors.open("wb") as file:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if say else None,
            stderr=file,
            text=True,
            start_new_session=True,
            env={**os.environ, LAUNCHER_PID: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        )
    assert child.stdin is not None
    reader = threading.Thread(target=_forward, args=(child.stdout, say), daemon=True)
    reader.start()
    try:
        return int(child.wait())
    finally:
        try:
            if child.poll() is None:
                with sigterm_waits():
                    ask_to_stop()
                    deadline = time.monotonic() + stop_grace_s()
                    while child.poll() is None and not has_stopped() and time.monotonic() < deadline:
                        time.sleep(0.05)
        finally:  # also when a second signal interrupts the wait
            end_session(child.pid)
            child.wait()
            reader.join()  # every writer is dead, so the output ends
            child.stdin.close()


def _forward(lines: IO[str] | None, say: Callable[[str], None] | None) -> None:
    if lines is None or say is None:
        return
    with lines:
        for line in lines:
            say(line.rstrip())


@contextlib.contextmanager
def sigterm_waits() -> Iterator[None]:
    """Whoever ends a job may send SIGTERM to all its processes, and more than once: here it is known already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def follow_launcher() -> None:
    """Called in the child: from now on, its session ends when the launcher does."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        end_session(os.getsid(0), but=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def end_session(session: int, *, but: int | None = None) -> None:
    """Ends every process of `session` except `but`: SIGTERM first, SIGKILL after TERM_GRACE_S seconds."""
    for number, wait_s in ((signal.SIGTERM, TERM_GRACE_S), (signal.SIGKILL, KILL_WAIT_S)):
        deadline = time.monotonic() + wait_s
        signalled: set[int] = set()
        while members := _members(session) - {but}:
            for pid in members - signalled:  # again and again: a dying program may still start others
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            signalled |= members
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _members(session: int) -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, owner = entry.read_text().rpartition(")")[2].split()[:4]
            if int(owner) == session and state not in {"Z", "X"}:
                found.add(int(entry.parent.name))
    return found
