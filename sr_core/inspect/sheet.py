"""The contact sheet: a handful of images, each whole, and one window of it in HR and in every degradation.

The window is where the image has most detail, by rule: the largest sum of differences between neighbouring pixels.
Windows are enlarged by repeating pixels, which adds nothing: what is seen is what the network is given.

Shapes: H W HR size, S scale.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sr_core.data.degrade import lr_of
from sr_core.data.images import read_rgb
from sr_core.data.pairs import ImagePair
from sr_core.data.resize import crop_to_multiple
from sr_core.errors import SrError
from sr_core.inspect.drawing import INK, MARK, PALE, PAPER, write
from sr_core.params import DataParams
from sr_core.progress import Progress

CELL = 240  # side of a window on the sheet
WHOLE = 320  # width of a whole image
GAP, MARGIN = 12, 24
HEAD, FOOT = 84, 40  # heights of the title, and of the text below each row
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


def draw_sheet(
    title: str, pairs: Sequence[ImagePair], tracks: Sequence[str], params: DataParams, *, progress: Progress
) -> tuple[NDArray[np.uint8], list[str]]:
    """The sheet, (rows, columns, 3), one row for each pair, and what could not be shown; memory: one image."""
    progress.start("Drawing the contact sheet", total=len(pairs))
    columns = 1 + len(tracks)
    width = 2 * MARGIN + WHOLE + columns * (GAP + CELL)
    canvas = Image.new("RGB", (width, MARGIN + HEAD + len(pairs) * (CELL + FOOT) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    write(pen, (MARGIN, MARGIN + 22), title, size=26, width=width - 2 * MARGIN)
    lefts = [MARGIN, *(MARGIN + WHOLE + GAP + i * (CELL + GAP) for i in range(columns))]
    for left, name in zip(lefts, ["HR", "window of HR", *tracks], strict=True):
        write(pen, (left, MARGIN + HEAD - 10), name, size=18)
    failures: list[str] = []
    for i, pair in enumerate(pairs):
        top = MARGIN + HEAD + i * (CELL + FOOT)
        try:
            _row(canvas, pair, tracks, params, lefts, top, failures)
        except SrError as error:  # the HR image itself
            failures.append(str(error))
            _sentence(pen, "cannot be decoded", MARGIN, top)
        progress.advance()
    return np.asarray(canvas), list(dict.fromkeys(failures))


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


def _row(
    canvas: Image.Image,
    pair: ImagePair,
    tracks: Sequence[str],
    params: DataParams,
    lefts: Sequence[int],
    top: int,
    failures: list[str],
) -> None:
    pen = ImageDraw.Draw(canvas)
    hr = read_rgb(pair.hr, max_pixels=params.max_pixels)
    window = busiest(crop_to_multiple(hr, params.scale), scale=params.scale)
    _paste_whole(canvas, hr, window, top)
    label = f"{pair.key}  {pair.width}x{pair.height}"
    write(pen, (MARGIN, top + CELL + 18), label, size=14, colour=PALE, width=WHOLE)
    _paste_window(canvas, window.of(hr), lefts[1], top)
    _note(pen, f"{window.side}x{window.side} pixels", lefts[1], top)
    for left, track in zip(lefts[2:], tracks, strict=True):
        try:
            lr = lr_of(pair, hr, params, track, 0)
        except SrError as error:
            failures.append(f"{track}: {error}")
            _sentence(pen, "not there", left, top)
            continue
        if lr.shape[:2] != (pair.height // params.scale, pair.width // params.scale):
            _sentence(pen, f"is {lr.shape[1]}x{lr.shape[0]} pixels", left, top)
            continue
        _paste_window(canvas, window.of(lr, params.scale), left, top)
        origin = "its own file" if track in pair.lr else "made here"
        _note(pen, f"{window.side // params.scale}x{window.side // params.scale} pixels, {origin}", left, top)


def _note(pen: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
    write(pen, (left, top + CELL + 18), text, size=14, colour=PALE, width=CELL)


def _sentence(pen: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
    write(pen, (left + CELL / 2, top + CELL / 2), text, size=14, colour=INK, anchor="mm")


def _paste_whole(canvas: Image.Image, image: NDArray[np.uint8], window: Window, top: int) -> None:
    """The whole image as large as its place allows, the window marked."""
    height, width = image.shape[:2]
    factor = min(WHOLE / width, CELL / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    canvas.paste(small, (MARGIN, top))
    left, upper = MARGIN + round(window.left * factor), top + round(window.top * factor)
    side = max(3, round(window.side * factor))
    ImageDraw.Draw(canvas).rectangle((left, upper, left + side, upper + side), outline=MARK, width=2)


def _paste_window(canvas: Image.Image, part: NDArray[np.uint8], left: int, top: int) -> None:
    enlarged = Image.fromarray(np.ascontiguousarray(part)).resize((CELL, CELL), Image.Resampling.NEAREST)
    canvas.paste(enlarged, (left, top))
