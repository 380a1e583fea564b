"""Processes that carry a mark in their environment, which everything they start inherits."""

import contextlib
import os
import time
from pathlib import Path

MARK = "SR_TESTS_MARK"


def alive(mark: str, variable: str = MARK) -> dict[int, str]:
    """Command line by id of every live process but this one that carries `mark`, wherever its parent is now."""
    entry = f"{variable}={mark}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(folder.name) == os.getpid() or entry not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return found


def wait_until(true, timeout_s: float, what: str = "this"):
    """Waits for `true()` to hold and returns it."""
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
    return value
