"""Pictures that let a person see what the numbers say: bicubic | networks | HR, whole and zoomed.

The zoomed crop is where networks and bicubic differ most, by rule and not by taste: the window with the largest
mean |network - bicubic|. All panels of a crop are enlarged alike, by repeating pixels, which adds nothing.

Shapes: H W HR size.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sr_core.evaluate.benchmark import BASELINE, Evaluated, ImageScore
from sr_core.upscale import Box

COLUMN = 432  # width of a panel
HEIGHT = 324  # height of a panel, and the most that the whole image may take
ZOOM = 4  # a crop shows COLUMN / ZOOM x HEIGHT / ZOOM HR pixels
GAP, MARGIN = 12, 20
HEADER, LABEL = 44, 54  # heights of the lines of text
PAPER, INK, PALE, MARK = (255, 255, 255), (28, 30, 33), (112, 117, 124), (255, 176, 0)
BETTER, WORSE = (20, 128, 74), (190, 40, 40)

Text = tuple[str, int, tuple[int, int, int]]  # what, size in pixels, colour


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One column: an image (H, W, 3) with its name, and what is said of it."""

    name: str
    image: NDArray[np.uint8]
    note: str
    gain_db: float | None = None  # over bicubic


def picture(evaluated: Evaluated, *, subtitle: str, shown: Collection[str] | None = None) -> NDArray[np.uint8]:
    """The comparison of one image, (rows, columns, 3): of the networks in `shown`, bicubic among them; None: of all."""
    scores = evaluated.scores
    results = {model: each for model, each in evaluated.results.items() if shown is None or model in shown}
    panels = [
        Panel(name=model, image=result, note=_note(scores[model]), gain_db=_gain_db(scores[model], scores[BASELINE]))
        for model, result in results.items()
    ]
    others = [result for model, result in results.items() if model != BASELINE]
    focus = choose_crop(evaluated.results[BASELINE], others, height=HEIGHT // ZOOM, width=COLUMN // ZOOM)
    reference = Panel(name="HR", image=evaluated.hr, note="the original")
    return draw(evaluated.image, subtitle, [*panels, reference], focus)


def choose_crop(baseline: NDArray[np.uint8], others: Sequence[NDArray[np.uint8]], *, height: int, width: int) -> Box:
    """The window of at most `height` x `width` with the largest mean |other - baseline|; the first one of equals."""
    height, width = min(height, baseline.shape[0]), min(width, baseline.shape[1])
    difference = np.zeros(baseline.shape[:2], np.int64)
    for other in others:
        difference += np.abs(other.astype(np.int64) - baseline).sum(axis=2)
    # sums over windows from the integral image, exact in integers
    integral = np.pad(difference.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = (
        integral[height:, width:]
        - integral[:-height, width:]
        - integral[height:, :-width]
        + integral[:-height, :-width]
    )
    top, left = (int(i) for i in np.unravel_index(sums.argmax(), sums.shape))
    return Box(top=top, left=left, bottom=top + height, right=left + width)


def draw(title: str, subtitle: str, panels: Sequence[Panel], focus: Box) -> NDArray[np.uint8]:
    """Panels side by side: label, the whole image with `focus` marked, the crop."""
    whole = _fit(panels[0].image)
    width = 2 * MARGIN + len(panels) * (COLUMN + GAP) - GAP
    tall = whole.height
    canvas = Image.new("RGB", (width, MARGIN + HEADER + LABEL + tall + GAP + HEIGHT + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    _write(pen, (MARGIN, MARGIN), [(title, 26, INK), (subtitle, 16, PALE)], width - 2 * MARGIN)
    for i, panel in enumerate(panels):
        left, top = MARGIN + i * (COLUMN + GAP), MARGIN + HEADER
        _write(pen, (left, top), [(panel.name, 22, INK)], COLUMN)
        _write(pen, (left, top + 28), [(panel.note, 16, PALE), *_gain(panel)], COLUMN)
        _paste_whole(canvas, panel.image, focus, left, top + LABEL)
        _paste_crop(canvas, panel.image, focus, left, top + LABEL + tall + GAP)
    return np.asarray(canvas)


def stack(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """`pictures` one below the other, on paper as wide as the widest."""
    widest = max(picture.shape[1] for picture in pictures)
    padded = [
        np.pad(picture, ((0, 0), (0, widest - picture.shape[1]), (0, 0)), constant_values=PAPER[0])
        for picture in pictures
    ]
    return np.concatenate(padded)


def _note(score: ImageScore) -> str:
    looks = "" if score.niqe is None else f"   NIQE {score.niqe:.2f}"
    return f"PSNR {score.psnr:.2f} dB   SSIM {score.ssim:.4f}{looks}"


def _gain_db(score: ImageScore, baseline: ImageScore) -> float | None:
    return None if score.model == BASELINE else score.psnr - baseline.psnr


def _gain(panel: Panel) -> list[Text]:
    if panel.gain_db is None:
        return []
    return [(f"{panel.gain_db:+.2f} dB", 16, BETTER if panel.gain_db > 0 else WORSE)]


def _fit(image: NDArray[np.uint8]) -> Image.Image:
    """The whole image, as large as a panel allows."""
    height, width = image.shape[:2]
    factor = min(COLUMN / width, HEIGHT / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)


def _paste_whole(canvas: Image.Image, image: NDArray[np.uint8], focus: Box, left: int, top: int) -> None:
    whole = _fit(image)
    canvas.paste(whole, (left, top))
    factor = whole.width / image.shape[1]
    box = [round(side * factor) for side in (focus.left, focus.top, focus.right, focus.bottom)]
    corners = (left + box[0], top + box[1], left + box[2] - 1, top + box[3] - 1)
    ImageDraw.Draw(canvas).rectangle(corners, outline=MARK, width=2)


def _paste_crop(canvas: Image.Image, image: NDArray[np.uint8], focus: Box, left: int, top: int) -> None:
    crop = Image.fromarray(image[focus.slices()])
    enlarged = crop.resize((crop.width * ZOOM, crop.height * ZOOM), Image.Resampling.NEAREST)
    canvas.paste(enlarged, (left, top))
    corners = (left, top, left + enlarged.width - 1, top + enlarged.height - 1)
    ImageDraw.Draw(canvas).rectangle(corners, outline=MARK, width=2)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], parts: Sequence[Text], width: int) -> None:
    """Texts (what, size, colour) one after the other on one base line, cut to `width` pixels."""
    x, end = float(at[0]), at[0] + width
    base = at[1] + max(size for _, size, _ in parts)
    for text, size, colour in parts:
        font = ImageFont.load_default(size=size)
        while text and x + pen.textlength(text, font=font) > end:
            text = text.rstrip("…")[:-1] + "…" if len(text.rstrip("…")) > 1 else ""
        pen.text((x, base), text, font=font, fill=colour, anchor="ls")
        x += pen.textlength(text, font=font) + 14
