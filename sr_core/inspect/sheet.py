"""The contact sheet: a handful of images, each whole, and one window of it in HR and in every degradation.

The window is where the image has most detail, by rule: the largest sum of differences between neighbouring pixels.
Windows are enlarged by repeating pixels, which adds nothing: what is seen is what the network is given.

Shapes: H W HR size, S scale.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sr_core.data.resize import crop_to_multiple
from sr_core.inspect.drawing import INK, MARK, PALE, PAPER, write
from sr_core.progress import Progress

CELL = 240  # side of a window on the sheet
WHOLE = 320  # width of a whole image
GAP, MARGIN = 12, 24
HEAD, FOOT = 96, 40  # heights of the title, and of the text below each row
SUBTITLE = (
    "the window with most detail, as HR and as each degradation gives it to the network; enlarged by repeating pixels"
)
WINDOW = 24  # LR pixels of a window's side, at most


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A square of HR pixels; all multiples of the scale."""

    top: int
    left: int
    side: int

    def of(self, image: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
        """This part of an image (H / scale, W / scale, 3)."""
        top, left, side = self.top // scale, self.left // scale, self.side // scale
        return image[top : top + side, left : left + side]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An image (H, W, 3), None if it cannot be decoded, and its LR images (H // S, W // S, 3) by track."""

    label: str
    hr: NDArray[np.uint8] | None
    lr: Mapping[str, NDArray[np.uint8]]
    notes: Mapping[str, str]  # by track, where the LR image comes from


def draw_sheet(
    title: str, rows: Iterable[Row], num_rows: int, tracks: Sequence[str], scale: int, *, progress: Progress
) -> NDArray[np.uint8]:
    """The sheet, (rows, columns, 3); takes one row after the other."""
    progress.start("Drawing the contact sheet", total=num_rows)
    columns = 1 + len(tracks)
    width = 2 * MARGIN + WHOLE + columns * (GAP + CELL)
    canvas = Image.new("RGB", (width, MARGIN + HEAD + num_rows * (CELL + FOOT) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    inside = width - 2 * MARGIN
    write(pen, (MARGIN, MARGIN + 22), title, size=26, width=inside)
    write(pen, (MARGIN, MARGIN + 46), SUBTITLE, size=14, colour=PALE, width=inside)
    lefts = [MARGIN, *(MARGIN + WHOLE + GAP + i * (CELL + GAP) for i in range(columns))]
    for left, name in zip(lefts, ["HR", "its window", *tracks], strict=True):
        write(pen, (left, MARGIN + HEAD - 10), name, size=18)
    for i, row in enumerate(rows):
        _draw_row(canvas, row, tracks, scale, lefts, MARGIN + HEAD + i * (CELL + FOOT))
        progress.advance()
    return np.asarray(canvas)


def busiest(image: NDArray[np.uint8], *, scale: int) -> Window:
    """The window of `image` (H, W, 3) with most detail; smaller than WINDOW LR pixels where the image is."""
    step = scale
    # one number for each LR pixel: mean of the channels, then differences
    grey = image[::step, ::step].mean(axis=2)
    detail = np.zeros(grey.shape)
    detail[1:] += np.abs(np.diff(grey, axis=0))
    detail[:, 1:] += np.abs(np.diff(grey, axis=1))
    height, width = image.shape[0] // scale, image.shape[1] // scale
    side = max(1, min(WINDOW, height, width))
    detail = detail[:height, :width]
    integral = np.pad(detail.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = integral[side:, side:] - integral[:-side, side:] - integral[side:, :-side] + integral[:-side, :-side]
    top, left = (int(i) for i in np.unravel_index(sums.argmax(), sums.shape))
    return Window(top=top * scale, left=left * scale, side=side * scale)


def _draw_row(canvas: Image.Image, row: Row, tracks: Sequence[str], scale: int, lefts: Sequence[int], top: int) -> None:
    pen = ImageDraw.Draw(canvas)
    if row.hr is None:
        _sentence(pen, "cannot be decoded", MARGIN, top)
        write(pen, (MARGIN, top + CELL + 18), row.label, size=14, colour=PALE, width=WHOLE)
        return
    hr = crop_to_multiple(row.hr, scale)
    window = busiest(hr, scale=scale)
    below = _paste_whole(canvas, row.hr, window, top)
    write(pen, (MARGIN, below + 18), row.label, size=14, colour=PALE, width=WHOLE)
    _paste_window(canvas, window.of(hr), lefts[1], top)
    _note(pen, f"{window.side}x{window.side} pixels", lefts[1], top)
    for left, track in zip(lefts[2:], tracks, strict=True):
        lr = row.lr.get(track)
        if lr is None:
            _sentence(pen, "not there", left, top)
        elif lr.shape[:2] != (hr.shape[0] // scale, hr.shape[1] // scale):
            _sentence(pen, f"is {lr.shape[1]}x{lr.shape[0]} pixels", left, top)
        else:
            _paste_window(canvas, window.of(lr, scale), left, top)
            side = window.side // scale
            _note(pen, ", ".join([f"{side}x{side} pixels", *filter(None, [row.notes.get(track)])]), left, top)


def _note(pen: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
    write(pen, (left, top + CELL + 18), text, size=14, colour=PALE, width=CELL)


def _sentence(pen: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
    write(pen, (left + CELL / 2, top + CELL / 2), text, size=14, colour=INK, anchor="mm")


def _paste_whole(canvas: Image.Image, image: NDArray[np.uint8], window: Window, top: int) -> int:
    """The whole image as large as its place allows, the window marked; returns where it ends."""
    height, width = image.shape[:2]
    factor = min(WHOLE / width, CELL / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    canvas.paste(small, (MARGIN, top))
    left, upper = MARGIN + round(window.left * factor), top + round(window.top * factor)
    side = max(3, round(window.side * factor))
    ImageDraw.Draw(canvas).rectangle((left, upper, left + side, upper + side), outline=MARK, width=2)
    return top + small.height


def _paste_window(canvas: Image.Image, part: NDArray[np.uint8], left: int, top: int) -> None:
    enlarged = Image.fromarray(np.ascontiguousarray(part)).resize((CELL, CELL), Image.Resampling.NEAREST)
    canvas.paste(enlarged, (left, top))
