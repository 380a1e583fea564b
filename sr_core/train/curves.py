"""Curves drawn with characters: of Unicode's braille, eight dots each, or of ASCII where a stream has no Unicode."""

import itertools
import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]

BLANK = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell, by row and column
LABEL_CHARS = 8
WIDE_RANGE = 20.0  # a curve over more than this ratio is drawn on a logarithmic axis


def panel(title: str, points: Points, *, x_last: int, width: int, height: int, unicode: bool) -> list[str]:
    """`height` + 3 lines of `width` characters: a title, a plot of `points` over 0 … `x_last` with labels, its x axis.

    Points that are not finite are left out. Where several fall into one column, their mean is drawn.
    """
    plot_width = width - LABEL_CHARS - 2
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    values = [y for _, y in finite]
    logarithmic = bool(values) and min(values) > 0 and max(values) / min(values) > WIDE_RANGE
    lines = [f"{title}{' (log)' if logarithmic else ''}".rjust(0)]
    if not finite:
        rows, labels = [" " * plot_width] * height, [""] * height
        rows[height // 2] = "nothing logged yet".center(plot_width)
    else:
        scaled = [(x, math.log10(y) if logarithmic else y) for x, y in finite]
        low, high = _bounds([y for _, y in scaled])
        rows = _rows(scaled, max(x_last, 1), low, high, plot_width, height, unicode)
        labels = _labels(low, high, height, logarithmic)
    bar, corner, dash = ("│", "└", "─") if unicode else ("|", "+", "-")
    lines += [f"{label:>{LABEL_CHARS}} {bar}{row}" for label, row in zip(labels, rows, strict=True)]
    lines.append(f"{'':>{LABEL_CHARS}} {corner}{dash * plot_width}")
    lines.append(f"{'0':>{LABEL_CHARS + 3}}{f'{x_last:,} steps':>{plot_width - 1}}")
    return [line[:width].ljust(width) for line in lines]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.02 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _labels(low: float, high: float, height: int, logarithmic: bool) -> list[str]:
    """At the top, the middle and the bottom row."""
    labels = [""] * height
    for row in (0, height // 2, height - 1):
        value = high - (high - low) * (row + 0.5) / height
        labels[row] = _short(10**value if logarithmic else value)
    return labels


def _short(value: float) -> str:
    size = abs(value)
    if size and not 1e-3 <= size < 1e5:
        return f"{value:.1e}"
    return f"{value:.{2 if size >= 10 else 3 if size >= 1 else 4}f}"


def _rows(points: Points, x_last: float, low: float, high: float, width: int, height: int, unicode: bool) -> list[str]:
    across, down = (2, 4) if unicode else (1, 1)  # dots in a character
    num_x, num_y = width * across, height * down
    sums: dict[int, list[float]] = {}
    for x, y in points:
        column = min(num_x - 1, max(0, int(x / x_last * num_x)))
        sums.setdefault(column, []).append(y)
    at = {column: min(num_y - 1, int((high - sum(ys) / len(ys)) / (high - low) * num_y)) for column, ys in sums.items()}
    cells = [[0] * width for _ in range(height)]
    for column, row in _joined(at):
        cells[row // down][column // across] |= DOTS[row % down][column % across] if unicode else 1
    if unicode:
        return ["".join(chr(BLANK + cell) if cell else " " for cell in line) for line in cells]
    return ["".join("*" if cell else " " for cell in line) for line in cells]


def _joined(at: dict[int, int]) -> list[tuple[int, int]]:
    """The dots of a line through `at`, the row of some columns."""
    columns = sorted(at)
    dots = [(column, at[column]) for column in columns]
    for left, right in itertools.pairwise(columns):
        num = max(right - left, abs(at[right] - at[left]))
        for i in range(1, num):
            dots.append((left + (right - left) * i // num, round(at[left] + (at[right] - at[left]) * i / num)))
    return dots
