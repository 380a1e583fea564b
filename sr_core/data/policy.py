"""Which image files are accepted, and as what: one table, which the decoder obeys and docs/images.md prints.

Accepted for training is what has one true reading as 8-bit RGB, for upscaling what has one as grey or RGB of 8 or 16
bits with or without alpha. What would lose something without a word (later frames; for training alpha, and 8 bits of
16) is refused with the reason and a way out.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["accepted", "converted", "refused"]

MAX_PIXELS = 100_000_000  # of an image, unless data.max_pixels says otherwise


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Purpose:
    """What images are read for: a column of the tables, and the ways out that its errors name."""

    column: Literal["training", "upscaling"]
    convert: str
    replace: str
    shrink: str
    omit: str


TRAINING = Purpose(
    column="training",
    convert="convert it to 8-bit RGB, or take it out",
    replace="replace it by a whole copy, or take it out",
    shrink="cut or shrink it, or raise data.max_pixels",
    omit="take it out",
)
UPSCALING = Purpose(
    column="upscaling",
    convert="convert it to a PNG of grey or RGB",
    replace="take a whole copy of it",
    shrink="cut or shrink it, or raise data.max_pixels",
    omit="leave it out",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What becomes of one kind of file: how it is converted, or why it is refused."""

    training: Verdict
    upscaling: Verdict
    note: str  # for training; for upscaling as well where nothing else is said
    enlarged: str = ""  # what upscaling does otherwise, or why it refuses

    def verdict(self, purpose: Purpose) -> Verdict:
        """What becomes of it where images are read for `purpose`."""
        return self.training if purpose.column == "training" else self.upscaling

    def reason(self, purpose: Purpose) -> str:
        """Why it is refused, where it is."""
        return self.note if purpose.column == "training" else self.enlarged or self.note


def _both(verdict: Verdict, note: str) -> Rule:
    return Rule(training=verdict, upscaling=verdict, note=note)


def _kept(training: Verdict, note: str, enlarged: str) -> Rule:
    return Rule(training=training, upscaling="accepted", note=note, enlarged=enlarged)


def _sixteen(note: str) -> Rule:
    return _kept("refused", note, "stays at 16 bits")


# by Pillow's name of the mode; all that Pillow has
MODES: Mapping[str, Rule] = {
    "RGB": _both("accepted", "is read as it is"),
    "L": _kept("converted", "grey becomes three equal channels", "stays grey"),
    "P": _both("converted", "each pixel becomes its palette's colour"),
    "RGBA": _kept(
        "converted",
        "alpha is left out where it is opaque everywhere (below: transparent pixels)",
        "alpha is enlarged by itself, and kept",
    ),
    "LA": _kept("converted", "as L and RGBA", "as L and RGBA"),
    "PA": _both("converted", "as P and RGBA"),
    "1": Rule(
        training="refused", upscaling="converted", note="has two levels only", enlarged="becomes grey, 0 and 255"
    ),
    "I": Rule(
        training="refused",
        upscaling="refused",
        note="is grey with more than 8 bits",
        enlarged="is grey with 32 bits, or signed",
    ),
    "I;16": _sixteen("is grey with more than 8 bits"),
    "I;16L": _sixteen("is grey with more than 8 bits"),
    "I;16B": _sixteen("is grey with more than 8 bits"),
    "I;16N": _sixteen("is grey with more than 8 bits"),
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
    "transparent pixels": _kept(
        "refused", "flatten it onto a colour; alpha that is opaque everywhere is left out", "alpha is kept"
    ),
    "TIFF of colours multiplied by alpha": Rule(
        training="refused",
        upscaling="converted",
        note="where it is transparent",
        enlarged="divided by alpha again, and rounded",
    ),
    "palette with a transparent colour": Rule(
        training="refused",
        upscaling="converted",
        note="where that colour occurs; else as without",
        enlarged="becomes RGB with alpha",
    ),
    "transparent colour that does not occur": _both("converted", "is left out"),
    "16-bit RGB PNG": _sixteen("has 16 bits per channel, of which 8 would be lost"),
    "16-bit RGB TIFF": _sixteen("has 16 bits per channel, of which 8 would be lost"),
    "16-bit grey PNG": _sixteen("is grey with more than 8 bits"),
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
    lines += [f"| {name} | {rule.training} | {rule.upscaling} | {_said(rule)} |" for name, rule in rules.items()]
    return "\n".join(lines)


def _said(rule: Rule) -> str:
    return f"{rule.note}; upscaling: {rule.enlarged}" if rule.enlarged else rule.note
