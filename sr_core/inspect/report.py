"""`python -m sr_core inspect`: the survey on the terminal, and its pictures and page in a folder."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sr_core.data.archives import Archive
from sr_core.data.pairs import SPLITS, ImagePair
from sr_core.errors import listed
from sr_core.files import write_atomic
from sr_core.inspect import charts, sheet
from sr_core.inspect.page import as_html
from sr_core.inspect.survey import NOT_THERE, Photograph, Survey, survey
from sr_core.inspect.words import facts, member_rows, remarks, split_rows
from sr_core.params import TRACKS, DataParams
from sr_core.progress import Progress

ROWS = 6  # images on the contact sheet
PAGE = "index.html"


def chosen(params: DataParams, dataset: str | None) -> DataParams:
    """`params` for another data set: `sample`, `div2k`, or a folder of photographs. None: as they are."""
    if dataset is None:
        return params
    keep = {"mirror": params.mirror, "archives": params.archives} if dataset == params.source == "div2k" else {}
    if dataset == params.source == "folder" or (params.folder and _same(params.folder, dataset)):
        return params
    none = {"folder": None, "lr_folder": None, "valid_list": None, "mirror": None, "archives": None}
    if dataset in ("sample", "div2k"):
        return dataclasses.replace(params, **(none | keep), source=dataset)  # type: ignore[arg-type]
    return dataclasses.replace(params, **(none | {"folder": dataset}), source="folder")  # type: ignore[arg-type]


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def look(params: DataParams, *, output: Path | None, progress: Progress) -> tuple[Survey, Path]:
    """The survey of the data set of `params`, and the page, written to `output` with the pictures beside it.

    Raises:
        SourceError: there is no such folder at all.
    """
    found = survey(params, progress=progress)
    folder = output or Path(params.root) / "reports" / f"inspect-{found.name}-x{params.scale}"
    pictures: dict[str, NDArray[np.uint8]] = {}
    failures: list[str] = []
    if any(found.photographs.values()):
        pictures["sheet"], more = _sheet(found, progress)
        pictures |= _plots(found, more, progress)
        failures = [line for line in dict.fromkeys(more) if line not in found.problems]
    found = dataclasses.replace(found, problems=(*found.problems, *failures))
    as_png = {name: _png(image) for name, image in pictures.items()}
    for name, data in as_png.items():
        write_atomic(folder / f"{name}.png", data)
    write_atomic(folder / PAGE, as_html(found, as_png))
    return found, folder / PAGE


def show(found: Survey) -> None:
    """The survey on standard output."""
    console = Console(highlight=False)
    for name, value in facts(found).items():
        console.print(f"{name + ':':<52}{value}", markup=False)
    for title, (head, lines) in (("photographs", split_rows(found)), ("shards to be", member_rows(found))):
        if lines:
            console.print(_table(title, head, lines))
    origins = {track: found.origins[track] for track in found.params.tracks}
    for track, origin in origins.items():
        console.print(f"{track}: {origin}", markup=False)
    for line in remarks(found):
        console.print(line, markup=False)
    if found.problems:
        console.print(f"{len(found.problems)} missing or refused:{listed(found.problems)}", markup=False)


def _table(title: str, head: tuple[str, ...], lines: list[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in head:
        table.add_column(name)
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def _sheet(found: Survey, progress: Progress) -> tuple[NDArray[np.uint8], list[str]]:
    tracks = [*found.params.tracks, *(track for track in TRACKS if track not in found.params.tracks)]
    tracks = [track for track in tracks if found.origins[track] != NOT_THERE]
    pairs = [_with_files(pair, found) for pair in charts.spread(found.pairs, ROWS)]
    title = f"{found.name} x{found.params.scale}"
    return sheet.draw_sheet(title, pairs, tracks, found.params, progress=progress)


def _with_files(pair: ImagePair, found: Survey) -> ImagePair:
    """`pair` with LR files of all tracks that lie beside it in DIV2K's layout."""
    lr: dict[str, tuple[Path, ...]] = {}
    for split in SPLITS:
        if pair.hr.parent.name == f"DIV2K_{split}_HR":
            for track in TRACKS:
                archive = Archive(split=split, track=track, scale=found.params.scale, bytes=0, sha256="")
                files = tuple(found.raw / name for name in archive.files(pair.hr.stem))
                lr |= {track: files} if all(file.is_file() for file in files) else {}
    return dataclasses.replace(pair, lr=lr | dict(pair.lr))


def _plots(found: Survey, failures: list[str], progress: Progress) -> dict[str, NDArray[np.uint8]]:
    photographs: dict[str, tuple[Photograph, ...]] = {split: each for split, each in found.photographs.items() if each}
    sizes = {split: [(one.header.height, one.header.width) for one in each] for split, each in photographs.items()}
    paths = {split: [one.path for one in each] for split, each in photographs.items()}
    shares, counts, more = charts.brightness(paths, max_pixels=found.params.max_pixels, progress=progress)
    failures += more
    plots = {"sizes": charts.plot_sizes(sizes, smallest=found.params.crop * found.params.scale)}
    return plots | ({"brightness": charts.plot_brightness(shares, counts)} if shares else {})


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
