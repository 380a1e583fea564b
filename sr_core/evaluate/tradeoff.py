"""Perception over distortion (Blau and Michaeli 2018): NIQE of a judged network and of those beside it, over PSNR.

Better is to the right (less distortion) and below (more natural). The networks between parent and judged network are
joined by a line and bear their alpha; the control stands exactly below or above the judged network: both have one PSNR.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sr_core.evaluate.benchmark import BASELINE, EvalReport
from sr_core.evaluate.gallery import INK, MARK, PALE, PAPER, WORSE
from sr_core.evaluate.tables import verdict

Colour = tuple[int, int, int]
Point = tuple[float, float]  # PSNR in dB, NIQE

WIDTH, HEIGHT = 760, 500
LEFT, RIGHT, TOP, BOTTOM = 70, 90, 104, 56  # margins around the plot
FINER = 2  # drawn this much larger, then reduced: Pillow draws without smoothing
RULE, PATH = (226, 229, 233), (42, 111, 187)
RADIUS = 5


def picture(report: EvalReport) -> NDArray[np.uint8]:
    """The plot of all networks of `report` that have both means, (HEIGHT, WIDTH, 3)."""
    means = {model: report.mean(model) for model in report.models}
    points = {
        model: (mean.psnr, mean.niqe)
        for model, mean in means.items()
        if mean.niqe is not None and math.isfinite(mean.psnr)
    }
    plot = _Plot(points)
    plot.title(f"x{report.scale}, {report.test_set}", [report.perceptual.label if report.perceptual else ""])
    plot.title("", verdict(report), top=68)
    about = report.perceptual
    apart = {BASELINE: PALE, **({about.control: WORSE} if about and about.control else {})}
    plot.path([point for model, point in points.items() if model not in apart])
    judged = about.judged if about else None
    for model, point in points.items():
        plot.dot(point, apart.get(model, MARK if model == judged else PATH))
    for model, point in points.items():
        plot.name(point, model.removeprefix("alpha "), on_the_left=model == judged)
    return plot.finished()


class _Plot:
    """Two axes around `points`, and what is drawn between them."""

    def __init__(self, points: Mapping[str, Point]) -> None:
        self._image = Image.new("RGB", (FINER * WIDTH, FINER * HEIGHT), PAPER)
        self._pen = ImageDraw.Draw(self._image)
        self._x, self._y = (_range([point[axis] for point in points.values()]) for axis in (0, 1))
        self._axes()

    def title(self, title: str, lines: tuple[str, ...] | list[str], *, top: int = 28) -> None:
        self._write((20, top), title, size=19)
        for i, line in enumerate(lines):
            self._write((20, top + 20 * (i + 1) * bool(title)), line, size=12, colour=PALE)

    def path(self, points: list[Point]) -> None:
        if len(points) > 1:
            at = [(FINER * x, FINER * y) for x, y in map(self._at, points)]
            self._pen.line(at, fill=PATH, width=2 * FINER, joint="curve")

    def dot(self, point: Point, colour: Colour) -> None:
        x, y = self._at(point)
        box = [FINER * value for value in (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)]
        self._pen.ellipse(box, fill=colour, outline=PAPER, width=FINER)

    def name(self, point: Point, name: str, *, on_the_left: bool) -> None:
        x, y = self._at(point)
        self._write((x - 9 if on_the_left else x + 9, y), name, size=13, anchor="rm" if on_the_left else "lm")

    def finished(self) -> NDArray[np.uint8]:
        return np.asarray(self._image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))

    def _axes(self) -> None:
        for value in _ticks(*self._y):
            y = self._at((self._x[0], value))[1]
            self._rule((LEFT, y), (WIDTH - RIGHT, y))
            self._write((LEFT - 8, y), f"{value:g}", size=12, colour=PALE, anchor="rm")
        for value in _ticks(*self._x):
            x = self._at((value, self._y[0]))[0]
            self._rule((x, TOP), (x, HEIGHT - BOTTOM))
            self._write((x, HEIGHT - BOTTOM + 8), f"{value:g}", size=12, colour=PALE, anchor="ma")
        self._write((WIDTH - RIGHT, HEIGHT - 14), "PSNR in dB (more is less distortion)", size=13, anchor="rs")
        self._write((LEFT, TOP - 8), "NIQE (less is more natural)", size=13)

    def _rule(self, start: Point, end: Point) -> None:
        self._pen.line([FINER * value for value in (*start, *end)], fill=RULE, width=FINER)

    def _at(self, point: Point) -> tuple[float, float]:
        shares = [(value - low) / (high - low) for value, (low, high) in zip(point, (self._x, self._y), strict=True)]
        return LEFT + shares[0] * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - shares[1] * (HEIGHT - TOP - BOTTOM)

    def _write(
        self, at: tuple[float, float], text: str, *, size: int, colour: Colour = INK, anchor: str = "ls"
    ) -> None:
        font = ImageFont.load_default(size=FINER * size)
        most = FINER * (WIDTH - 40)
        while len(text) > 1 and self._pen.textlength(text, font=font) > most:
            text = text.rstrip("…")[:-1] + "…"
        self._pen.text((FINER * at[0], FINER * at[1]), text, font=font, fill=colour, anchor=anchor)


def _range(values: list[float]) -> tuple[float, float]:
    """What an axis covers: all `values`, and a tenth more on both sides."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    more = 0.12 * (high - low) or 0.5
    return low - more, high + more


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers from `low` to `high`, about five of them."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = power * next(unit for unit in (1, 2, 5, 10) if (high - low) / (unit * power) <= 6)
    return (round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1))
