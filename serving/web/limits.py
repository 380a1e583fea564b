"""What a photograph, a result and the process may take, so that one visitor does not end the page for all."""

import dataclasses
import re
from pathlib import Path

from sr_core.errors import ConfigError

MIN_MEMORY_BYTES = 700_000_000  # Gradio and torch alone take half of it
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Checked before anything is decoded or computed."""

    max_upload_bytes: int = 50 * 2**20  # of a file
    max_pixels: int = 100_000_000  # of a photograph; as data.max_pixels
    max_result_pixels: int = 24_000_000
    memory_bytes: int | None = None  # of the process; None: what the machine has
    keep_s: float = 1800.0  # how long uploads and results stay on disk


def parse_bytes(text: str, *, name: str) -> int:
    """`1G`, `500M`, `1.5GiB` or a plain number, in bytes; a K is 1024.

    Raises:
        ConfigError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found or float(found[1]) <= 0:
        raise ConfigError(f"{name}: is {text!r}, expected a number of bytes such as 1G or 500M")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def resident_bytes() -> int:
    """What this process holds in memory now; 0 where the kernel does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096
