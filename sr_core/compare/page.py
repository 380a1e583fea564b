"""The page: a comparison in one HTML file, with its pictures inside and nothing to fetch.

Without JavaScript all is there but two things: the slider over the whole images, in whose place the original stands,
and the sorting of the tables. Whole images are reduced to WHOLE pixels, crops are the pixels themselves; what is to be
measured or voted on lies in the folder of images.
"""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_core.compare import words
from sr_core.compare.assets import SCRIPT, STYLE
from sr_core.compare.figure import Version
from sr_core.compare.report import ComparedSet, Comparison
from sr_core.evaluate.benchmark import BASELINE, ImageScore
from sr_core.upscale import Box

WHOLE = 720  # the longer side of a whole image, at most
QUALITY = 88  # of WebP
LR, HR = "LR", "HR"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PageVersion:
    """One picture of an image, small enough for a page."""

    label: str
    whole: str  # data: URI
    crop: str  # data: URI
    score: ImageScore | None
    gain_db: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PageImage:
    """An image with all of its versions, LR first and HR last."""

    image: str
    height: int  # of HR
    width: int
    focus: Box
    versions: tuple[PageVersion, ...]


def page_image(image: str, versions: Sequence[Version], lr: NDArray[np.uint8], focus: Box) -> PageImage:
    """What the page needs of an image; `lr` (H, W, 3) is what the version LR repeats the pixels of."""
    height, width = versions[-1].pixels.shape[:2]
    return PageImage(
        image=image,
        height=height,
        width=width,
        focus=focus,
        versions=tuple(
            PageVersion(
                label=version.label,
                whole=_data(reduced(lr if version.label == LR else version.pixels, WHOLE), "webp"),
                crop=_data(_encoded(Image.fromarray(version.pixels[focus.slices()]), "PNG", optimize=True), "png"),
                score=version.score,
                gain_db=version.gain_db,
            )
            for version in versions
        ),
    )


def as_html(
    comparison: Comparison, images: Mapping[str, Sequence[PageImage]], plots: Mapping[str, Mapping[str, bytes]]
) -> str:
    """The page; `images` and `plots` (PNG by what they show) are by the sets' names."""
    title = words.title(comparison)
    notes = "".join(f"<li>{escape(line)}</li>" for line in words.notes(comparison))
    parts = [
        "<!doctype html>\n<html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f"<header><h1>{escape(title)}</h1>{_navigation(comparison)}</header><main>",
        *(_block(comparison, on, plots.get(on.name, {})) for on in comparison.sets),
        f"<section><h2>Notes</h2><ul class=notes>{notes}</ul></section>" if notes else "",
        *(_gallery(comparison, on, images[on.name]) for on in comparison.sets if images.get(on.name)),
        f"</main><script>{SCRIPT}</script></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _navigation(comparison: Comparison) -> str:
    links = [
        f"<a href='#{kind}-{i}'>{escape(text + words.heading(comparison, on))}</a>"
        for kind, text in (("table", ""), ("images", "Pictures: "))
        for i, on in enumerate(comparison.sets)
        if kind == "table" or on.images
    ]
    return f"<nav aria-label='On this page'>{''.join(links)}</nav>" if len(links) > 1 else ""


def _block(comparison: Comparison, on: ComparedSet, plots: Mapping[str, bytes]) -> str:
    shown = words.columns_of(comparison)
    units = {column: f"<small>{escape(column.unit)}</small>" if column.unit else "" for column in shown}
    heads = "".join(f"<th scope=col><span>{escape(column.head)}</span>{units[column]}</th>" for column in shown)
    rows = words.rows_of(comparison, on)
    best = {column.head: words.best_of(rows, words.COLUMNS.index(column)) for column in shown}
    body = ""
    for row in rows:
        cells = "".join(
            _data_cell(cell, _kind(column, cell, row.model.label in best[column.head]))
            for column, cell in zip(shown, words.shown_cells(comparison, row), strict=True)
        )
        hint = escape(words.about(row.model), quote=True)
        body += f"<tr><th scope=row title='{hint}'>{escape(row.model.label)}</th>{cells}</tr>"
    for each in words.theirs_of(on):
        cells = "".join(_data_cell(cell) for cell in words.shown_cells(comparison, each))
        hint = escape(each.about, quote=True)
        body += f"<tr class=theirs><th scope=row title='{hint}'>{escape(each.label)}</th>{cells}</tr>"
    pictures = "".join(
        f"<img alt='{escape(f'{what}, {words.heading(comparison, on)}', quote=True)}' src='{_data(png, 'png')}'>"
        for what, png in plots.items()
    )
    return (
        f"<section id=table-{_number(comparison, on)}><h2>{escape(words.heading(comparison, on))}</h2>"
        f"<p>{escape(words.protocol(comparison, on))}</p>"
        f"<div class=scroll tabindex=0 role=region aria-label='{escape(words.heading(comparison, on), quote=True)}'>"
        f"<table><thead><tr><th scope=col><span>model</span></th>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
        f"{f'<div class=plots>{pictures}</div>' if pictures else ''}</section>"
    )


def _data_cell(cell: words.Cell, kind: str = "") -> str:
    value = "" if cell.value is None else repr(cell.value)
    return f"<td class='{kind}' data-value='{value}'>{escape(cell.text)}</td>"


def _kind(column: words.Column, cell: words.Cell, is_best: bool) -> str:
    gain = column.head == "gain" and cell.value is not None
    return " ".join(["best"] * is_best + [("more" if (cell.value or 0) > 0 else "less")] * gain)


def _gallery(comparison: Comparison, on: ComparedSet, images: Sequence[PageImage]) -> str:
    others = [label for label in on.report.models if label != BASELINE]
    best = max(others, key=lambda label: on.report.mean(label).psnr, default=HR)
    articles = "".join(_article(image, best) for image in images)
    more = len(on.report.images) - len(images)
    hidden = f" {more} more images are in the figures." if more > 0 else ""
    return (
        f"<section id=images-{_number(comparison, on)}><h2>Pictures: {escape(words.heading(comparison, on))}</h2>"
        "<p>The crops are where the models differ most, marked in the whole image. Crops show the pixels as they are; "
        f"whole images are reduced to {WHOLE} pixels at most.{hidden}</p>{articles}</section>"
    )


def _article(image: PageImage, best: str) -> str:
    """An image: bicubic over the model `best` to begin with, and all the crops."""
    name = escape(image.image, quote=True)
    box = image.focus
    mark = (
        f"left:{100 * box.left / image.width:.2f}%;top:{100 * box.top / image.height:.2f}%;"
        f"width:{100 * (box.right - box.left) / image.width:.2f}%;"
        f"height:{100 * (box.bottom - box.top) / image.height:.2f}%"
    )
    wholes = "".join(
        f"<img class='{_class(version.label)}' data-version='{escape(version.label, quote=True)}' "
        f"alt='{name}, {escape(version.label, quote=True)}' src='{version.whole}'>"
        for version in image.versions
    )
    labels = [version.label for version in image.versions]
    crops = "".join(_crop(image, version) for version in image.versions)
    return (
        f"<article><h3>{escape(image.image)}</h3><div class=image><figure>"
        f"<div class=viewer style='aspect-ratio:{image.width}/{image.height};--at:50%'>{wholes}<i style='{mark}'></i>"
        "<b class=left></b><b class=right></b></div>"
        f"<div class=controls hidden><input type=range min=0 max=100 step=any value=50 "
        f"aria-label='How much of {name} is shown by the left choice'>"
        f"{_choice('left', labels, BASELINE)}{_choice('right', labels, best)}</div></figure>"
        f"<ul class=crops>{crops}</ul></div></article>"
    )


def _choice(side: str, labels: Sequence[str], chosen: str) -> str:
    options = "".join(f"<option{' selected' if label == chosen else ''}>{escape(label)}</option>" for label in labels)
    return f"<label>{side} <select class={side}>{options}</select></label>"


def _crop(image: PageImage, version: PageVersion) -> str:
    box, score = image.focus, version.score
    said = "the original" if version.label == HR else "pixels as they are"
    if score is not None:
        gain = "" if version.gain_db is None else f" ({version.gain_db:+.2f})"
        said = f"{score.psnr:.2f} dB{gain} · {score.ssim:.4f}"
        said += "" if score.niqe is None else f" · NIQE {score.niqe:.2f}"
        said += "" if score.lpips is None else f" · LPIPS {score.lpips:.4f}"
    alt = escape(f"{version.label}, crop of {image.image}", quote=True)
    return (
        f"<li><img alt='{alt}' width={box.right - box.left} height={box.bottom - box.top} src='{version.crop}'>"
        f"<strong>{escape(version.label)}</strong><span>{escape(said)}</span></li>"
    )


def _class(label: str) -> str:
    return {LR: "pixels", HR: "plain"}.get(label, "")


def _number(comparison: Comparison, on: ComparedSet) -> int:
    return comparison.sets.index(on)


def reduced(pixels: NDArray[np.uint8], longest: int) -> bytes:
    """(H, W, 3) as WebP of at most `longest` pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return _encoded(image, "WEBP", quality=QUALITY)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _data(encoded: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
