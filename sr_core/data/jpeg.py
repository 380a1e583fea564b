"""Whether the bytes of a JPEG are such as an encoder writes: libjpeg only warns of damage, to nobody.

JPEG carries no checksums, and libjpeg fills what it cannot decode with grey. ITU-T T.81.
"""

import mmap
import re

# what may follow 0xFF: in coded pixels 0 (a pixel's own 0xFF) or a restart; else a marker that begins a segment
_CODED = re.compile(rb"\xff+([^\xff])")
_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xfe])")
_BEHIND_PIXELS = frozenset({0xC4, 0xCC, *range(0xD9, 0xDE), *range(0xE0, 0xF0), 0xFE})
_SCAN, _END, _RESTARTS = 0xDA, 0xD9, range(0xD0, 0xD8)
_BASELINE, _ARITHMETIC = (
    frozenset({0xC0, 0xC1}),
    frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}),
)  # how frames are coded
_TABLES, _BLOCK_ENDS = 0xC4, 0x00
_ZEROS = bytes(32)


def damage(data: bytes | mmap.mmap) -> str | None:
    """What is wrong with a JPEG, or None: bytes that no encoder writes, restarts out of turn, no end."""
    at = data.find(b"\xff", 2)
    first: dict[int, int] = {}  # by table for coefficients, what the code of zeros alone means
    is_baseline = False
    while marker := _MARKER.search(data, at):
        code, at = data[marker.end() - 1], marker.end()
        length = int.from_bytes(data[at : at + 2], "big")
        if code == _END:
            return None
        if code in _ARITHMETIC:
            return "is coded arithmetically, which is not read"
        if code == _TABLES:
            first |= _meanings_of_zeros(data[at + 2 : at + length])
        elif 0xC0 <= code <= 0xC3:
            is_baseline = code in _BASELINE
        at += length
        if code == _SCAN:
            start, selectors = at, data[at - length + 4 : at - 3 : 2]
            at, problem = _behind_scan(data, start)
            # where zeros do not end blocks, each would mean dozens of the same coefficient
            are_foreign = any(first.get(selector & 15, _BLOCK_ENDS) != _BLOCK_ENDS for selector in selectors)
            if not problem and is_baseline and are_foreign and (zeros := data.find(_ZEROS, start, at)) >= 0:
                problem = f"is damaged at byte {zeros} (a part of it is zeros)"
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


def _meanings_of_zeros(tables: bytes) -> dict[int, int]:
    """Of the Huffman tables for coefficients in a segment the first symbol, by the table's number.

    Codes are given out in order, so the first consists of zeros.
    """
    found, at = {}, 0
    while at + 17 < len(tables):
        kind, num = tables[at], sum(tables[at + 1 : at + 17])
        if kind >> 4 == 1:
            found[kind & 15] = tables[at + 17]
        at += 17 + num
    return found
