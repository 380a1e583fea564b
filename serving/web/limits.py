"""What a photograph, a result and the process may take, so that one visitor does not end the page for all."""

import ctypes
import dataclasses
import math
import os
from pathlib import Path

MIN_MEMORY_BYTES = 700_000_000  # Gradio and torch alone take half of it
SPARE_BYTES = 120_000_000  # for the server's own work beside the model's: requests, another visitor's upload
SMALLEST_BUDGET_BYTES = 100_000_000  # of tiles; below it they only take longer
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_CGROUP = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Checked before anything is decoded or computed."""

    max_upload_bytes: int = 50_000_000  # of a file
    max_pixels: int = 100_000_000  # of a photograph; as data.max_pixels
    max_result_pixels: int = 24_000_000
    memory_bytes: int | None = None  # of the process; None: no limit
    keep_s: float = 1800.0  # how long uploads and results stay on disk
    keep_bytes: int = 2 * 2**30  # how much they may take there

    def budget_bytes(self, pictures_bytes: int) -> int | None:
        """What tiles may take beside what is held already and `pictures_bytes` to come; None without a limit."""
        if self.memory_bytes is None:
            return None
        left = self.memory_bytes - resident_bytes() - pictures_bytes - SPARE_BYTES
        return max(left, SMALLEST_BUDGET_BYTES)


def resident_bytes(pid: int | None = None) -> int:
    """What a process holds in memory now; 0 where the kernel does not say."""
    try:
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def container_bytes() -> int | None:
    """The memory that this process's container has, if it is in one that has a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(_CGROUP / name)
        if text.isdecimal() and int(text) < 2**50:  # without a limit it is about 2^63
            return int(text)
    return None


def num_cores() -> int:
    """The cores that this process may use: torch would take all that the machine has, whatever its container allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(_CGROUP / "cpu/cpu.cfs_quota_us"), _read(_CGROUP / "cpu/cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period):
        cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(cores, 1)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def return_freed_memory() -> None:
    """Tells glibc's malloc to give large blocks back as soon as they are freed, and to keep few arenas.

    By itself it raises the size from which a block is one of its own up to 32 MiB, and keeps what lies below.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**18)
        mallopt(_M_TRIM_THRESHOLD, 2**20)
        mallopt(_M_ARENA_MAX, 2)


def trim() -> None:
    """Gives back what was freed by now."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
