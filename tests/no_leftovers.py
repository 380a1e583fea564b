"""Runs a command, and fails if a process that it started outlives it.

    python tests/no_leftovers.py COMMAND …

Servers and workers that detach themselves lose their parent. While this program runs it is the one that the
kernel hands such orphans to (PR_SET_CHILD_SUBREAPER), so whoever is left when the command has ended is its child:
each is given GRACE_S to end, then named and killed.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

GRACE_S = 10.0
PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the command too, which then ends by itself
    status = _wait(os.posix_spawnp(command[0], command, os.environ, setsigdef=[signal.SIGINT]))
    left = _leftovers(GRACE_S)
    for pid in left:
        print(f"no_leftovers: process {pid} outlived the command: {_command_line(pid)}", file=sys.stderr)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return status or int(bool(left))


def _wait(child: int) -> int:
    """The exit status of `child`, reaping every orphan that ends before it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _leftovers(grace_s: float) -> list[int]:
    deadline = time.monotonic() + grace_s
    while left := _descendants():
        if time.monotonic() > deadline:
            break
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.1)
    return left


def _descendants() -> list[int]:
    """Every live process below this one."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state not in {"Z", "X"}:
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, ahead = [], [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return sorted(found)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return "(ended meanwhile)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
