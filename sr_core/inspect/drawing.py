"""Colours and text that the contact sheet and the charts share."""

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 30, 33)
PALE: Colour = (112, 117, 124)
RULE: Colour = (226, 229, 233)
MARK: Colour = (255, 176, 0)
OF_SPLIT: dict[str, Colour] = {"train": (42, 111, 187), "valid": (226, 119, 30)}


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    *,
    size: int,
    colour: Colour = INK,
    anchor: str = "ls",
    width: float | None = None,
) -> float:
    """Writes `text` at `at` (Pillow's `anchor`), cut to `width` pixels; returns how wide it became."""
    font = ImageFont.load_default(size=size)
    while width is not None and len(text) > 1 and pen.textlength(text, font=font) > width:
        text = text.rstrip("…")[:-1] + "…"
    pen.text(at, text, font=font, fill=colour, anchor=anchor)
    return float(pen.textlength(text, font=font))
