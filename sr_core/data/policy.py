"""Which image files are accepted, and as what: one table, which the decoder obeys and docs/images.md prints.

Accepted is what has one true reading as 8-bit RGB. What would lose something without a word (16 bits, alpha, later
frames) is refused with the reason and a way out. Training and upscaling have columns of their own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["accepted", "converted", "refused"]

MAX_PIXELS = 100_000_000  # of an image, unless data.max_pixels says otherwise


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What becomes of one kind of file: how it is converted, or why it is refused."""

    training: Verdict
    upscaling: Verdict
    note: str


def _both(verdict: Verdict, note: str) -> Rule:
    return Rule(training=verdict, upscaling=verdict, note=note)


# by Pillow's name of the mode; all that Pillow has
MODES: Mapping[str, Rule] = {
    "RGB": _both("accepted", "is read as it is"),
    "L": _both("converted", "grey becomes three equal channels"),
    "P": _both("converted", "each pixel becomes its palette's colour"),
    "RGBA": _both("converted", "alpha is left out where it is opaque everywhere (below: transparent pixels)"),
    "LA": _both("converted", "as L and RGBA"),
    "PA": _both("converted", "as P and RGBA"),
    "1": _both("refused", "has two levels only"),
    "I": _both("refused", "is grey with more than 8 bits"),
    "I;16": _both("refused", "is grey with more than 8 bits"),
    "I;16L": _both("refused", "is grey with more than 8 bits"),
    "I;16B": _both("refused", "is grey with more than 8 bits"),
    "I;16N": _both("refused", "is grey with more than 8 bits"),
    "F": _both("refused", "is grey in floating point"),
    "CMYK": _both("refused", "holds printing inks, whose colours depend on a profile"),
    "YCbCr": _both("refused", "holds luma and chroma outside of JPEG, whose ranges are not said"),
    "LAB": _both("refused", "holds L*a*b* colours, not RGB"),
    "HSV": _both("refused", "holds hue and saturation, not RGB"),
    "RGBX": _both("refused", "has a fourth channel of unknown meaning"),
    "RGBa": _both("refused", "has colours multiplied by alpha, which cannot be undone exactly"),
    "La": _both("refused", "has grey multiplied by alpha, which cannot be undone exactly"),
}

# by a few words that name the kind of file
FILES: Mapping[str, Rule] = {
    "transparent pixels": _both("refused", "flatten it onto a colour; alpha that is opaque everywhere is left out"),
    "palette with a transparent colour": _both("refused", "where that colour occurs; else as without"),
    "transparent colour that does not occur": _both("converted", "is left out"),
    "16-bit RGB PNG": _both("refused", "has 16 bits per channel, of which 8 would be lost"),
    "16-bit RGB TIFF": _both("refused", "has 16 bits per channel, of which 8 would be lost"),
    "16-bit grey PNG": _both("refused", "is grey with more than 8 bits"),
    "2-bit grey PNG": _both("converted", "its four levels are spread over 0 to 255, as the format says"),
    "CMYK JPEG": _both("refused", "holds printing inks, whose colours depend on a profile"),
    "interlaced PNG": _both("accepted", "is read as it is"),
    "progressive JPEG": _both("accepted", "is read as it is"),
    "animated PNG": _both("refused", "holds several pictures, of which only the first would be used"),
    "animated WebP": _both("refused", "holds several pictures, of which only the first would be used"),
    "multi-page TIFF": _both("refused", "holds several pictures, of which only the first would be used"),
    "JPEG of several pictures (MPO)": _both(
        "converted", "the first is the photograph; previews and gain maps stay out"
    ),
    "EXIF orientation": _both("converted", "is applied: JPEG, PNG, TIFF and WebP, 1 to 8; other numbers mean upright"),
    "colour profile (ICC)": _both("accepted", "the numbers are read as they are; the profile is not applied"),
    "JPEG that is called .png": _both("accepted", "the content counts, not the name"),
    "one pixel": Rule(
        training="refused", upscaling="accepted", note="smaller than a crop; nothing is too small to upscale"
    ),
    "header of a huge image": _both("refused", "is more than data.max_pixels; known before anything is decoded"),
    "truncated": _both("refused", "cannot be decoded; PNG, JPEG, TIFF, BMP and WebP"),
    "damaged PNG": _both("refused", "its checksums tell every flipped bit"),
    "JPEG with foreign bytes inside": _both("refused", "as far as the bytes cannot be JPEG data (below)"),
    "empty file": _both("refused", "is no image"),
    "text that is called .png": _both("refused", "is no image"),
    "GIF": _both("refused", "is no format for photographs: 256 colours"),
    "SVG": _both("refused", "is a drawing, not pixels"),
    "HEIC": _both("refused", "this Pillow cannot read it"),
    "AVIF": _both("refused", "is not read yet"),
    "JPEG 2000": _both("refused", "is not read yet"),
    "directory, pipe or device": _both("refused", "is not a file"),
}


def as_markdown() -> str:
    """The two tables as they stand in docs/images.md."""
    return "\n\n".join((_table("Mode in Pillow", MODES), _table("File", FILES))) + "\n"


def _table(title: str, rules: Mapping[str, Rule]) -> str:
    lines = [f"| {title} | training | upscaling | |", "|---|---|---|---|"]
    lines += [f"| {name} | {rule.training} | {rule.upscaling} | {rule.note} |" for name, rule in rules.items()]
    return "\n".join(lines)
