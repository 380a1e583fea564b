"""How much memory is left to this process: of the machine, and of the container it runs in."""

import re
from pathlib import Path

_MACHINE = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")  # version 2


def free_bytes(machine: Path = _MACHINE, container: Path = _CONTAINER) -> int | None:
    """What can be taken before something is ended for lack of memory; None where the system does not say."""
    found = []
    try:
        if available := re.search(r"MemAvailable:\s+(\d+) kB", machine.read_text()):
            found.append(int(available[1]) * 1024)
    except OSError:
        pass
    try:
        most = (container / "memory.max").read_text().strip()
        if most.isdigit():  # and not "max"
            used = int((container / "memory.current").read_text())
            # pages of files that can be dropped
            kept = re.search(r"^inactive_file (\d+)", (container / "memory.stat").read_text(), re.MULTILINE)
            found.append(max(0, int(most) - used + (int(kept[1]) if kept else 0)))
    except OSError:
        pass
    return min(found, default=None)
