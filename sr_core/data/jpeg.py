"""Whether the bytes of a JPEG are such as an encoder writes: libjpeg only warns of damage, to nobody.

JPEG carries no checksums, and libjpeg fills what it cannot decode with grey.
"""

import mmap
import re

# what may follow 0xFF: in coded pixels 0 (a pixel's own 0xFF) or a restart; else a marker that begins a segment
_CODED = re.compile(rb"\xff+([^\xff])")
_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xfe])")
_BEHIND_PIXELS = frozenset({0xC4, 0xCC, *range(0xD9, 0xDE), *range(0xE0, 0xF0), 0xFE})
_SCAN, _END, _RESTARTS = 0xDA, 0xD9, range(0xD0, 0xD8)


def damage(data: bytes | mmap.mmap) -> str | None:
    """What is wrong with a JPEG, or None: bytes that no encoder writes, restarts out of turn, no end."""
    at = data.find(b"\xff", 2)
    while marker := _MARKER.search(data, at):
        code, at = data[marker.end() - 1], marker.end()
        if code == _END:
            return None
        at += int.from_bytes(data[at : at + 2], "big")
        if code == _SCAN:
            at, problem = _behind_scan(data, at)
            if problem:
                return problem
    return "cannot be decoded (it ends before its end mark)"


def _behind_scan(data: bytes | mmap.mmap, start: int) -> tuple[int, str | None]:
    """Where the marker lies that ends the coded pixels from `start` on, and what is wrong with them."""
    num_restarts = 0
    for found in _CODED.finditer(data, start):
        code = data[found.end() - 1]
        if code in _RESTARTS:
            if code != _RESTARTS[num_restarts % len(_RESTARTS)]:
                return 0, f"is damaged at byte {found.start()} (a part of it is missing)"
            num_restarts += 1
        elif code in _BEHIND_PIXELS:
            return found.start(), None
        elif code:
            return 0, f"is damaged at byte {found.start()} (these bytes are no JPEG)"
    return len(data), None
