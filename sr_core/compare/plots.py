"""Quality over cost: PSNR of the models over the number of their parameters, or over their time per megapixel.

Costs are on a logarithmic axis; a network without parameters stands left of it, at 0. The line joins the models that no
cheaper one equals.

Drawn with Pillow, as all pictures here.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sr_core.compare.labels import Rectangle, is_far, nearest, placed
from sr_core.compare.report import ComparedSet, Comparison
from sr_core.evaluate.benchmark import BASELINE
from sr_core.inspect.drawing import INK, PALE, PAPER, RULE, Colour, write

WIDTH, HEIGHT = 880, 540
LEFT, RIGHT, TOP, BOTTOM = 72, 32, 106, 58  # margins around the plot
FINER = 2  # drawn this much larger, then reduced: Pillow draws without smoothing
RADIUS, NAME = 5, 14  # of a dot; size of a name
FREE = 72  # pixels left of the axis for what costs nothing
DOT: Colour = (42, 111, 187)
FRONT: Colour = (164, 194, 226)

Point = tuple[float, float]  # cost, PSNR in dB; or x, y in pixels
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def over_parameters(comparison: Comparison, on: ComparedSet) -> NDArray[np.uint8]:
    """PSNR over the number of parameters, (HEIGHT, WIDTH, 3)."""
    costs = {model.label: model.num_parameters for model in comparison.models}
    return _plot(comparison, on, costs, "PSNR and size", "parameters", [])


def over_time(comparison: Comparison, on: ComparedSet) -> NDArray[np.uint8]:
    """PSNR over the seconds per megapixel, (HEIGHT, WIDTH, 3)."""
    costs = {model.label: model.speed.median_s if model.speed else None for model in comparison.models}
    said = [comparison.timing.describe()] if comparison.timing else []
    return _plot(comparison, on, costs, "PSNR and time", "seconds per megapixel of the result", said)


def _plot(
    comparison: Comparison, on: ComparedSet, costs: Mapping[str, float | None], what: str, axis: str, said: list[str]
) -> NDArray[np.uint8]:
    report = on.report
    psnrs = {model.label: report.mean(model.label).psnr for model in comparison.models}
    known = {label: cost for label, cost in costs.items() if cost is not None and math.isfinite(psnrs[label])}
    points = {label: (float(cost), psnrs[label]) for label, cost in known.items()}
    plot = _Plot(list(points.values()), axis)
    num = len(report.images)
    protocol = f"{num} image{'s' * (num != 1)}, {report.protocol.describe(comparison.scale)}, {report.precision}"
    plot.title(f"{what}: {on.test_set} x{comparison.scale}, {on.degradation}", [protocol, *said])
    plot.front(list(points.values()))
    plot.dots(points)
    return plot.finished()


def front_of(points: Sequence[Point]) -> list[Point]:
    """Those of (cost, quality) that no cheaper or equally dear one equals, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each[0], -each[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


class _Plot:
    """A logarithmic axis for costs, a linear one for PSNR, and what is drawn between them."""

    def __init__(self, points: Sequence[Point], axis: str) -> None:
        self._image = Image.new("RGB", (FINER * WIDTH, FINER * HEIGHT), PAPER)
        self._pen = ImageDraw.Draw(self._image)
        self._left = LEFT + FREE * any(cost <= 0 for cost, _ in points)
        self._x = _decades([math.log10(cost) for cost, _ in points if cost > 0])
        self._y = _range([psnr for _, psnr in points])
        self._taken: list[Rectangle] = []  # where no name should stand
        self._axes(axis)

    def title(self, title: str, lines: Sequence[str]) -> None:
        self._write((20, 32), title, size=19)
        for i, line in enumerate(lines):
            self._write((20, 52 + 18 * i), line, size=12, colour=PALE)

    def front(self, points: Sequence[Point]) -> None:
        line = [self._at(point) for point in front_of(points)]
        if len(line) > 1:
            self._line(line, FRONT, width=2)
        self._taken = [box for start, end in itertools.pairwise(line) for box in _along(start, end)]

    def dots(self, points: Mapping[str, Point]) -> None:
        at = [self._at(point) for point in points.values()]
        font = ImageFont.load_default(size=FINER * NAME)
        sizes = [(self._pen.textlength(label, font=font) / FINER + 4, NAME + 4.0) for label in points]
        names = placed(at, sizes, (LEFT + 2, TOP, WIDTH - 4, HEIGHT - BOTTOM - 2), self._taken, radius=RADIUS + 1)
        for dot, name in zip(at, names, strict=True):
            if is_far(dot, name):
                self._line([dot, nearest(dot, name)], PALE)
        for label, (x, y), (left, top, _, bottom) in zip(points, at, names, strict=True):
            box = [FINER * value for value in (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)]
            self._pen.ellipse(box, fill=PALE if label == BASELINE else DOT, outline=PAPER, width=FINER)
            self._write((left + 2, (top + bottom) / 2), label, size=NAME, anchor="lm")

    def finished(self) -> NDArray[np.uint8]:
        return np.asarray(self._image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))

    def _axes(self, axis: str) -> None:
        base = HEIGHT - BOTTOM
        values = list(_ticks(*self._y))
        decimals = max(len(f"{value:g}".partition(".")[2]) for value in values)
        for value in values:
            y = self._at((1.0, value))[1]
            self._line([(LEFT, y), (WIDTH - RIGHT, y)], RULE)
            self._write((LEFT - 8, y), f"{value:.{decimals}f}", size=12, colour=PALE, anchor="rm")
        for exponent in range(math.floor(self._x[0]), math.ceil(self._x[1]) + 1):
            for factor in range(1, 10):
                value = factor * 10.0**exponent
                if not self._x[0] - 1e-9 <= math.log10(value) <= self._x[1] + 1e-9:
                    continue
                x = self._at((value, self._y[0]))[0]
                self._line([(x, base), (x, base + (7 if factor == 1 else 4))], PALE)
                if factor == 1 or (factor in {2, 5} and self._x[1] - self._x[0] < 2.5):
                    self._line([(x, TOP), (x, base)], RULE)
                    self._write((x, base + 10), _short(value), size=12, colour=PALE, anchor="ma")
        if self._left > LEFT:
            x = self._at((0.0, self._y[0]))[0]
            self._line([(x, TOP), (x, base)], RULE)
            self._write((x, base + 10), "0", size=12, colour=PALE, anchor="ma")
        self._line([(self._left, base), (WIDTH - RIGHT, base)], INK)
        self._write((WIDTH - RIGHT, HEIGHT - 12), f"{axis}, logarithmic", size=13, anchor="rs")
        self._write((20, TOP - 12), "PSNR in dB", size=13)

    def _at(self, point: Point) -> Point:
        low, high = self._y
        y = HEIGHT - BOTTOM - (point[1] - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        if point[0] <= 0:
            return LEFT + FREE / 3, y
        share = (math.log10(point[0]) - self._x[0]) / (self._x[1] - self._x[0])
        return self._left + share * (WIDTH - RIGHT - self._left), y

    def _line(self, points: Sequence[Point], colour: Colour, width: int = 1) -> None:
        self._pen.line([(FINER * x, FINER * y) for x, y in points], fill=colour, width=FINER * width, joint="curve")

    def _write(self, at: Point, text: str, *, size: int, colour: Colour = INK, anchor: str = "ls") -> None:
        place = (FINER * at[0], FINER * at[1])
        most = FINER * (WIDTH - 40)
        write(self._pen, place, text, size=FINER * size, colour=colour, anchor=anchor, width=most)


def _along(start: Point, end: Point) -> Iterator[Rectangle]:
    """Small boxes that cover a line."""
    num = max(1, round(math.dist(start, end) / 4))
    for i in range(num + 1):
        x, y = (a + (b - a) * i / num for a, b in zip(start, end, strict=True))
        yield x - 2, y - 2, x + 2, y + 2


def _decades(logarithms: Sequence[float]) -> Point:
    """What a logarithmic axis covers: all values, with some room, and half a decade at least."""
    low, high = min(logarithms, default=0.0), max(logarithms, default=1.0)
    more = max(0.08 * (high - low), 0.1, (0.5 - (high - low)) / 2)
    return low - more, high + more


def _range(values: Sequence[float]) -> Point:
    """What a linear axis covers: all values, and an eighth more on both sides."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    more = 0.125 * (high - low) or 0.5
    return low - more, high + more


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers from `low` to `high`, about five of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = power * next(unit for unit in (1, 2, 5, 10) if (high - low) / (unit * power) <= 6)
    return (round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1))


def _short(value: float) -> str:
    """`20k` for 20000, `0.05` for 0.05."""
    for unit, name in UNITS:
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
