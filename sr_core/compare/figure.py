"""One image in all its versions: the original whole, and one crop of LR, of bicubic, of every model and of HR.

The crop is where the models differ most among each other: the window with the largest mean distance from their mean.
Fewer than two models are compared with bicubic. Crops are enlarged by repeating pixels, which adds nothing; LR is shown
as the pixels that it has.

Shapes: H W HR size, S scale.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sr_core.evaluate.benchmark import BASELINE, Evaluated, ImageScore
from sr_core.evaluate.gallery import BETTER, INK, MARK, PALE, PAPER, WORSE, choose_crop
from sr_core.inspect.drawing import Colour, write
from sr_core.upscale import Box

CROP_HEIGHT, CROP_WIDTH, ZOOM = 66, 88, 3  # of a crop in HR pixels, and how much it is enlarged
PANEL_HEIGHT, PANEL_WIDTH = CROP_HEIGHT * ZOOM, CROP_WIDTH * ZOOM
LABEL, GAP, MARGIN, HEADER = 46, 14, 24, 58
MOST_COLUMNS = 4
WHOLE_WIDTH = 620  # the most that the original takes

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One of the pictures of an image: LR, a model's result, or the original."""

    label: str
    pixels: Pixels  # (H, W, 3)
    score: ImageScore | None
    gain_db: float | None  # over bicubic


def versions_of(evaluated: Evaluated, scale: int, labels: Sequence[str]) -> tuple[Version, ...]:
    """LR enlarged by repeating its pixels, the results of `labels` in their order, and HR."""
    scores = evaluated.scores
    baseline = scores[BASELINE].psnr
    results = [
        Version(
            label=label,
            pixels=evaluated.results[label],
            score=scores[label],
            gain_db=None if label == BASELINE else scores[label].psnr - baseline,
        )
        for label in labels
    ]
    nearest = evaluated.lr.repeat(scale, axis=0).repeat(scale, axis=1)
    first = Version(label="LR", pixels=nearest, score=None, gain_db=None)
    return first, *results, Version(label="HR", pixels=evaluated.hr, score=None, gain_db=None)


def focus_of(results: Mapping[str, Pixels]) -> Box:
    """Where `results`, bicubic's among them, differ most: see above; HR pixels."""
    models = [result for label, result in results.items() if label != BASELINE]
    every = models if len(models) > 1 else list(results.values())
    mean = np.stack(every).mean(axis=0, dtype=np.float32).round().astype(np.uint8)
    return choose_crop(mean, every, height=CROP_HEIGHT, width=CROP_WIDTH)


def picture(title: str, subtitle: str, versions: Sequence[Version], focus: Box) -> Pixels:
    """The original with `focus` marked at the left, the crops beside it; (rows, columns, 3)."""
    columns = min(MOST_COLUMNS, len(versions))
    rows = -(-len(versions) // columns)
    tall = rows * (PANEL_HEIGHT + LABEL) + (rows - 1) * GAP
    whole, factor = _fitted(versions[-1].pixels, WHOLE_WIDTH, tall - LABEL)
    left = MARGIN + whole.width + 2 * GAP
    canvas = Image.new(
        "RGB",
        (left + columns * (PANEL_WIDTH + GAP) - GAP + MARGIN, HEADER + MARGIN + tall + MARGIN),
        PAPER,
    )
    pen = ImageDraw.Draw(canvas)
    wide = canvas.width - 2 * MARGIN
    write(pen, (MARGIN, MARGIN + 18), title, size=24, width=wide)
    write(pen, (MARGIN, MARGIN + 42), subtitle, size=14, colour=PALE, width=wide)
    top = HEADER + MARGIN
    canvas.paste(whole, (MARGIN, top))
    box = [round(side * factor) for side in (focus.left, focus.top, focus.right, focus.bottom)]
    _frame(pen, (MARGIN + box[0], top + box[1], MARGIN + box[2], top + box[3]))
    for i, version in enumerate(versions):
        x, y = left + i % columns * (PANEL_WIDTH + GAP), top + i // columns * (PANEL_HEIGHT + LABEL + GAP)
        crop = Image.fromarray(version.pixels[focus.slices()])
        canvas.paste(crop.resize((crop.width * ZOOM, crop.height * ZOOM), Image.Resampling.NEAREST), (x, y))
        _caption(pen, version, x, y + crop.height * ZOOM)
    return np.asarray(canvas)


def _fitted(pixels: Pixels, width: int, height: int) -> tuple[Image.Image, float]:
    """The whole image in at most `width` x `height`, never enlarged by more than 2, and by which factor."""
    factor = min(width / pixels.shape[1], height / pixels.shape[0], 2.0)
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), factor


def _frame(pen: ImageDraw.ImageDraw, corners: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = corners
    pen.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=INK, width=1)
    pen.rectangle((left - 1, top - 1, right, bottom), outline=MARK, width=2)


def _caption(pen: ImageDraw.ImageDraw, version: Version, x: int, y: int) -> None:
    write(pen, (x, y + 19), version.label, size=16, width=PANEL_WIDTH)
    score = version.score
    if score is None:
        note = "pixels as they are" if version.label == "LR" else "the original"
        write(pen, (x, y + 38), note, size=13, colour=PALE, width=PANEL_WIDTH)
        return
    looks = "" if score.niqe is None else f"  NIQE {score.niqe:.2f}"
    used = write(pen, (x, y + 38), f"{score.psnr:.2f} dB  {score.ssim:.4f}{looks}", size=13, colour=PALE)
    if version.gain_db is not None:
        colour: Colour = BETTER if version.gain_db > 0 else WORSE
        write(pen, (x + used + 10, y + 38), f"{version.gain_db:+.2f}", size=13, colour=colour)
