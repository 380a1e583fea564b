"""Two plots of a data set, drawn with Pillow: the sizes of its images, and how bright their pixels are.

Shapes: N images, B bins.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sr_core.data.images import read_small
from sr_core.errors import ImageError
from sr_core.inspect.drawing import INK, OF_SPLIT, PALE, PAPER, RULE, write
from sr_core.progress import Progress

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 88, 56  # margins around the plot
FINER = 2  # drawn this much larger, then reduced: Pillow draws without smoothing
BINS = 64
MOST_DECODED = 40  # images of a split whose brightness is looked at
SMALL = 256  # the side to which they are reduced
Item = TypeVar("Item")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full range


def brightness(
    paths: Mapping[str, Sequence[Path]], *, max_pixels: int, progress: Progress
) -> tuple[dict[str, NDArray[np.float64]], dict[str, int], list[str]]:
    """By split, the share of pixels in each of B bins of luma, of how many images, and what could not be decoded.

    Of large splits only evenly spread images are decoded.
    """
    chosen = {split: spread(files, MOST_DECODED) for split, files in paths.items()}
    progress.start("Measuring brightness", total=sum(map(len, chosen.values())))
    shares, counts, failures = {}, {}, []
    for split, files in chosen.items():
        total, num = np.zeros(BINS), 0
        for path in files:
            try:
                luma = read_small(path, SMALL, max_pixels=max_pixels) @ np.asarray(LUMA)  # (h, w, 3) -> (h, w)
                hits = np.histogram(luma, bins=BINS, range=(0, 255))[0]
                total, num = total + hits / hits.sum(), num + 1
            except ImageError as error:
                failures.append(str(error))
            progress.advance()
        if num:
            shares[split], counts[split] = total / num, num
    return shares, counts, failures


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of `items`, evenly spread."""
    num = min(most, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * num)] for i in range(num)]


def plot_sizes(sizes: Mapping[str, Sequence[tuple[int, int]]], *, smallest: int) -> NDArray[np.uint8]:
    """Width against height of every (height, width), a larger dot for more of the same; (HEIGHT, WIDTH, 3)."""
    every = [size for split in sizes.values() for size in split]
    highest, widest = (max((size[axis] for size in every), default=1) for axis in (0, 1))
    plot = _Plot("Image sizes", f"the line is the smallest side that a crop fits into, {smallest} pixels")
    plot.axes(x=(1.08 * widest, "width in pixels"), y=(1.08 * highest, "height in pixels"))
    plot.line([(smallest, 1.08 * highest), (smallest, smallest), (1.08 * widest, smallest)], colour=PALE)
    most = max(Counter(every).values(), default=1)
    dots = [(num, size, split) for split, each in sizes.items() for size, num in Counter(each).items()]
    for num, (height, width), split in sorted(dots, reverse=True):
        plot.dot((width, height), radius=4 + 9 * math.sqrt(num / most) * (most > 1), colour=OF_SPLIT[split])
    plot.legend({split: f"{split}: {len(each)}" for split, each in sizes.items()})
    return plot.finished()


def plot_brightness(shares: Mapping[str, NDArray[np.float64]], counts: Mapping[str, int]) -> NDArray[np.uint8]:
    """The shares (B,) of pixels over luma; (HEIGHT, WIDTH, 3)."""
    highest = max((float(share.max()) for share in shares.values()), default=1.0)
    num = sum(counts.values())
    plot = _Plot("Brightness", f"luma of the pixels of {num} images, reduced to {SMALL} pixels; 0 is black, 255 white")
    plot.axes(x=(255, "luma"), y=(108 * highest, "% of the pixels"))
    at = (np.arange(BINS) + 0.5) * 255 / BINS
    for split, share in shares.items():
        plot.area(list(zip(at.tolist(), (100 * share).tolist(), strict=True)), colour=OF_SPLIT[split])
    plot.legend({split: f"{split}: {count}" for split, count in counts.items()})
    return plot.finished()


class _Plot:
    """A title, two axes from 0, and what is drawn between them; points are (x, y) in the axes' units."""

    def __init__(self, title: str, subtitle: str) -> None:
        self._image = Image.new("RGB", (FINER * WIDTH, FINER * HEIGHT), PAPER)
        self._pen = ImageDraw.Draw(self._image)
        self._x = self._y = 1.0
        self._write((LEFT, 28), title, size=19)
        self._write((LEFT, 48), subtitle, size=13, colour=PALE)

    def axes(self, *, x: tuple[float, str], y: tuple[float, str]) -> None:
        self._x, self._y = x[0], y[0]
        for value in _ticks(self._y):
            self._stroke([self._at((0, value)), self._at((self._x, value))], colour=RULE)
            self._write((LEFT - 8, self._at((0, value))[1]), f"{value:g}", size=12, colour=PALE, anchor="rm")
        for value in _ticks(self._x):
            left, base = self._at((value, 0))
            self._stroke([(left, base), (left, base + 5)], colour=PALE)
            self._write((left, base + 9), f"{value:g}", size=12, colour=PALE, anchor="ma")
        self._stroke([self._at((0, 0)), self._at((self._x, 0))], colour=INK)
        self._write((WIDTH - RIGHT, HEIGHT - 12), x[1], size=13, anchor="rs")
        self._write((LEFT, TOP - 10), y[1], size=13)

    def line(self, points: Sequence[tuple[float, float]], *, colour: tuple[int, int, int]) -> None:
        self._stroke([self._at(point) for point in points], colour=colour)

    def dot(self, point: tuple[float, float], *, radius: float, colour: tuple[int, int, int]) -> None:
        x, y = self._at(point)
        box = [FINER * value for value in (x - radius, y - radius, x + radius, y + radius)]
        self._blend(lambda pen: pen.ellipse(box, fill=(*colour, 150), outline=(*colour, 255), width=FINER))

    def area(self, points: Sequence[tuple[float, float]], *, colour: tuple[int, int, int]) -> None:
        """A line through `points`, and a tint below it."""
        line = [self._at(point) for point in points]
        shape = [self._at((points[0][0], 0)), *line, self._at((points[-1][0], 0))]
        self._blend(lambda pen: pen.polygon([(FINER * x, FINER * y) for x, y in shape], fill=(*colour, 50)))
        self._stroke(line, colour=colour, width=2)

    def legend(self, entries: Mapping[str, str]) -> None:
        left = float(WIDTH - RIGHT)
        for split, text in reversed(list(entries.items())):
            left -= self._write((left, 28), text, size=14, anchor="rs") + 8
            box = [FINER * value for value in (left - 8, 18, left, 26)]
            self._pen.ellipse(box, fill=OF_SPLIT[split])
            left -= 24

    def finished(self) -> NDArray[np.uint8]:
        return np.asarray(self._image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))

    def _at(self, point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + point[0] / self._x * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - point[1] / self._y * (HEIGHT - TOP - BOTTOM)

    def _stroke(self, points: Sequence[tuple[float, float]], *, colour: tuple[int, int, int], width: int = 1) -> None:
        self._pen.line([(FINER * x, FINER * y) for x, y in points], fill=colour, width=FINER * width, joint="curve")

    def _write(self, at: tuple[float, float], text: str, *, size: int, **options: object) -> float:
        return write(self._pen, (FINER * at[0], FINER * at[1]), text, size=FINER * size, **options) / FINER  # type: ignore[arg-type]

    def _blend(self, draw: Callable[[ImageDraw.ImageDraw], None]) -> None:
        """What `draw` draws in colours with alpha."""
        layer = Image.new("RGBA", self._image.size)
        draw(ImageDraw.Draw(layer))
        self._image.paste(layer, mask=layer)


def _ticks(highest: float) -> Iterator[float]:
    """Round numbers from 0 to `highest`, about five of them."""
    power = 10.0 ** math.floor(math.log10(highest / 5))
    step = power * next(unit for unit in (1, 2, 5, 10) if highest / (unit * power) <= 6)
    return (step * i for i in range(int(highest / step) + 1))
