"""`python -m sr_core inspect`: a survey, its pictures and its page."""

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_core.data.degrade import lr_of
from sr_core.data.images import read_rgb
from sr_core.data.pairs import SPLITS, ImagePair, lr_files
from sr_core.errors import ConfigError, SrError, shown
from sr_core.files import write_atomic
from sr_core.inspect import built, charts
from sr_core.inspect.page import as_html
from sr_core.inspect.report import Report
from sr_core.inspect.sheet import Row, draw_sheet
from sr_core.inspect.survey import AT_HOME, NOT_THERE, TO_FETCH, Photograph, Survey, survey
from sr_core.inspect.words import report_of
from sr_core.params import TRACKS, DataParams
from sr_core.progress import Progress

NUM_ROWS = 6  # images on the contact sheet
PAGE = "index.html"

Pictures = dict[str, NDArray[np.uint8]]  # by what they show, (rows, columns, 3)


def chosen(params: DataParams, dataset: str | None) -> DataParams:
    """`params` for another data set: `sample`, `div2k`, or a folder of photographs. None: as they are."""
    if dataset is None or dataset == params.source != "folder":
        return params
    own = params.folder is not None and Path(params.folder).resolve() == Path(dataset).resolve()
    if own:
        return params
    plain = dataclasses.replace(params, folder=None, lr_folder=None, valid_list=None, mirror=None, archives=None)
    if dataset == "sample":
        return dataclasses.replace(plain, source="sample")
    if dataset == "div2k":
        return dataclasses.replace(plain, source="div2k")
    return dataclasses.replace(plain, source="folder", folder=dataset)


def look(params: DataParams, dataset: str | None, *, output: Path | None, progress: Progress) -> tuple[Report, Path]:
    """The report on `dataset` (see `chosen`; or a folder of shards), and its page, written with the pictures beside it.

    Raises:
        SourceError: there is no such folder at all.
        ConfigError: `output` is the folder of the photographs.
    """
    if dataset is not None and dataset not in ("sample", "div2k") and built.index_paths(Path(dataset)):
        folder = output or _default_output(params, f"shards-{Path(dataset).resolve().name}")
        folder.mkdir(parents=True, exist_ok=True)
        report, pictures = _look_at_shards(Path(dataset), progress)
    else:
        found = survey(chosen(params, dataset), progress=progress)
        _check_output(found, output)
        folder = output or _default_output(params, f"{found.name}-x{params.scale}")
        folder.mkdir(parents=True, exist_ok=True)
        report, pictures = _look_at_photographs(found, progress)
    as_png = {title: _png(image) for title, image in pictures.items()}
    for title, data in as_png.items():
        write_atomic(folder / f"{title}.png", data)
    write_atomic(folder / PAGE, as_html(report, as_png))
    return report, folder / PAGE


def _default_output(params: DataParams, name: str) -> Path:
    return Path(params.root) / "reports" / f"inspect-{name}"


def _check_output(found: Survey, output: Path | None) -> None:
    homes = {found.raw, *(each.path.parent for split in SPLITS for each in found.photographs[split])}
    if output is not None and output.resolve() in {home.resolve() for home in homes}:
        raise ConfigError(
            f"--output: {shown(output)} holds the photographs, among which the pictures would be trained on; name "
            "another folder"
        )


def _look_at_shards(folder: Path, progress: Progress) -> tuple[Report, Pictures]:
    indexes, problems = built.load_all(folder)
    report = built.report_of_shards(folder, indexes, problems)
    scale, rows = built.patches(indexes, NUM_ROWS)
    if not rows:
        return report, {}
    tracks = list(rows[0].lr)
    return report, {"sheet": draw_sheet(report.title, rows, len(rows), tracks, scale, progress=progress)}


def _look_at_photographs(found: Survey, progress: Progress) -> tuple[Report, Pictures]:
    """The report, and the pictures; what turns out only when images are decoded is reported as well."""
    if not any(found.photographs.values()):
        return report_of(found), {}
    failures: list[str] = []
    pictures = _sheet(found, failures, progress)
    pictures |= _plots(found, failures, progress)
    new = [line for line in dict.fromkeys(failures) if line not in found.problems]
    return report_of(dataclasses.replace(found, problems=(*found.problems, *new))), pictures


def _sheet(found: Survey, failures: list[str], progress: Progress) -> Pictures:
    """The contact sheet of images that a crop fits into, if there are any."""
    side = found.params.crop * found.params.scale
    pairs = charts.spread([pair for pair in found.pairs if min(pair.height, pair.width) >= side], NUM_ROWS)
    if not pairs:
        return {}
    tracks = [*found.params.tracks, *(track for track in TRACKS if track not in found.params.tracks)]
    tracks = [track for track in tracks if found.origins[track] not in (NOT_THERE, TO_FETCH, AT_HOME)]
    rows = _rows(found, pairs, tracks, failures)
    title = f"{shown(found.name)} x{found.params.scale}"
    return {"sheet": draw_sheet(title, rows, len(pairs), tracks, found.params.scale, progress=progress)}


def _rows(found: Survey, pairs: Sequence[ImagePair], tracks: Sequence[str], failures: list[str]) -> Iterator[Row]:
    """One image after the other, decoded; memory: one."""
    for pair in pairs:
        label = f"{shown(pair.key)}  {pair.width}x{pair.height}"
        try:
            hr = read_rgb(pair.hr, max_pixels=found.params.max_pixels)
        except SrError as error:
            failures.append(str(error))
            yield Row(label=label, hr=None, lr={}, notes={})
            continue
        whole = _with_files(pair, found)
        lr = {}
        for track in tracks:
            try:
                lr[track] = lr_of(whole, hr, found.params, track, 0)
            except SrError as error:
                failures.append(str(error))
        notes = {track: "its own file" if track in whole.lr else "made here" for track in lr}
        yield Row(label=label, hr=hr, lr=lr, notes=notes)


def _with_files(pair: ImagePair, found: Survey) -> ImagePair:
    """`pair` with the LR files of all tracks that lie beside it in DIV2K's layout."""
    lr: dict[str, tuple[Path, ...]] = {}
    for split in (split for split in SPLITS if pair.hr.parent.name == f"DIV2K_{split}_HR"):
        for track in TRACKS:
            files = lr_files(pair.hr, found.raw, split, track, found.params.scale)
            lr |= {track: files} if all(file.is_file() for file in files) else {}
    return dataclasses.replace(pair, lr=lr | dict(pair.lr))


def _plots(found: Survey, failures: list[str], progress: Progress) -> Pictures:
    photographs: dict[str, tuple[Photograph, ...]] = {split: each for split, each in found.photographs.items() if each}
    sizes = {split: [(one.header.height, one.header.width) for one in each] for split, each in photographs.items()}
    paths: Mapping[str, Sequence[Path]] = {split: [one.path for one in each] for split, each in photographs.items()}
    shares, counts, more = charts.brightness(paths, max_pixels=found.params.max_pixels, progress=progress)
    failures += more
    plots = {"sizes": charts.plot_sizes(sizes, smallest=found.params.crop * found.params.scale)}
    return plots | ({"brightness": charts.plot_brightness(shares, counts)} if shares else {})


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
