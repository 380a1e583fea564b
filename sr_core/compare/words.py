"""The table of a comparison, once for all that show it: a terminal, Markdown, the page.

Every test set with its degradation is a block with a heading that says the protocol; a row is a model in it.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sr_core.compare.report import ComparedModel, ComparedSet, Comparison
from sr_core.evaluate import published
from sr_core.evaluate.records import BASELINE, Mean
from sr_core.models.card import UNKNOWN

NOTHING = "-"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A model on a test set."""

    model: ComparedModel
    mean: Mean
    gain_db: float | None  # over bicubic; None: of bicubic itself


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Theirs:
    """A published figure that stands below ours."""

    label: str
    about: str  # whose it is, and what the network was trained on
    psnr: float
    ssim: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One figure of each row."""

    head: str
    unit: str
    decimals: int
    better: int  # 1: more is better, -1: less is; 0: neither


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One figure, for a reader and for sorting."""

    text: str
    value: float | None


COLUMNS = (
    Column(head="PSNR", unit="dB", decimals=2, better=1),
    Column(head="gain", unit="dB", decimals=2, better=1),
    Column(head="SSIM", unit="", decimals=4, better=1),
    Column(head="NIQE", unit="", decimals=2, better=-1),
    Column(head="LPIPS", unit="", decimals=4, better=-1),
    Column(head="parameters", unit="", decimals=0, better=0),
    Column(head="time", unit="s/MP", decimals=3, better=0),
)


def rows_of(comparison: Comparison, on: ComparedSet) -> tuple[Row, ...]:
    """The models on `on`, in order."""
    report = on.report
    return tuple(
        Row(
            model=model,
            mean=report.mean(model.label),
            gain_db=None if model.label == BASELINE else report.gain_db(model.label),
        )
        for model in comparison.models
    )


def columns_of(comparison: Comparison) -> tuple[Column, ...]:
    """Those columns in which there is a figure at all."""
    every = [cells_of(row) for on in comparison.sets for row in rows_of(comparison, on)]
    return tuple(column for i, column in enumerate(COLUMNS) if any(cells[i].text != NOTHING for cells in every))


def cells_of(row: Row) -> tuple[Cell, ...]:
    """The figures of a row, one for each of COLUMNS."""
    speed = row.model.speed
    values = (
        row.mean.psnr,
        row.gain_db,
        row.mean.ssim,
        row.mean.niqe,
        row.mean.lpips,
        row.model.num_parameters,
        speed.median_s if speed else None,
    )
    return tuple(_cell(column, value) for column, value in zip(COLUMNS, values, strict=True))


def shown_cells(comparison: Comparison, row: Row | Theirs) -> tuple[Cell, ...]:
    """The figures of a row for those columns that are shown."""
    shown = columns_of(comparison)
    if isinstance(row, Theirs):
        known = {"PSNR": row.psnr, "SSIM": row.ssim}
        return tuple(_cell(column, known.get(column.head)) for column in shown)
    return tuple(cell for column, cell in zip(COLUMNS, cells_of(row), strict=True) if column in shown)


def theirs_of(on: ComparedSet) -> tuple[Theirs, ...]:
    """The published figures for the same images, degradation and protocol, by PSNR."""
    return tuple(
        Theirs(
            label=f"{each.name} (published)",
            about=f"{each.source}, trained on {each.trained_on}",
            psnr=each.psnr,
            ssim=each.ssim,
        )
        for each in published.beside(on.report)
    )


def _cell(column: Column, value: float | None) -> Cell:
    if value is None:
        return Cell(text=NOTHING, value=None)
    if not math.isfinite(value):
        return Cell(text="∞" if value > 0 else NOTHING, value=None)
    sign = "+" if column.head == "gain" else ""
    return Cell(text=f"{value:{sign},.{column.decimals}f}", value=float(value))


def heading(comparison: Comparison, on: ComparedSet) -> str:
    """What stands over a block: `Set5 x4, bicubic (5 images)`."""
    num = len(on.report.images)
    return f"{on.test_set} x{comparison.scale}, {on.degradation} ({num} image{'s' * (num != 1)})"


def protocol(comparison: Comparison, on: ComparedSet) -> str:
    """By what the figures of a block were taken: `benchmark-y (Y, 4 pixels shaved), float32, LR: files`."""
    report = on.report
    lr = [f"LR: {report.lr_source}"] if report.lr_source else []
    scores = [f"{each.label}, lower is better" for each in (report.perceptual, report.learned) if each]
    measured = ", ".join([report.protocol.describe(comparison.scale), report.precision, *lr])
    return "; ".join([measured, *scores])


def notes(comparison: Comparison) -> tuple[str, ...]:
    """What holds for the whole table: how time was taken, which model is which, what was left out."""
    lines = [f"time: seconds per megapixel of the result, {comparison.timing.describe()}"] if comparison.timing else []
    lines += [f"{model.label}: {about(model)}" for model in comparison.models if model.label != BASELINE]
    lines += dict.fromkeys(f"{each.label}: {each.about}" for on in comparison.sets for each in theirs_of(on))
    lines += [doubt for on in comparison.sets if (doubt := published.doubt(on.report))]
    return (*lines, *comparison.remarks)


def about(model: ComparedModel) -> str:
    """`data/models/edsr-x4-bicubic, small, trained for bicubic on sample, sha256 1a2b3c4d, timed in bf16`."""
    trained = " ".join(
        part
        for part in (
            f"for {model.degradation}" if model.degradation != UNKNOWN else "",
            f"on {model.dataset}" if model.dataset != UNKNOWN else "",
        )
        if part
    )
    parts = [
        model.source,
        model.preset if model.weights_sha256 else "",
        f"trained {trained}" if trained else "",
        f"sha256 {model.weights_sha256[:8]}" if model.weights_sha256 else "",
        f"timed in {model.speed.precision}" if model.speed and model.weights_sha256 else "",
    ]
    return ", ".join(part for part in parts if part)


def best_of(rows: Sequence[Row], index: int) -> set[str]:
    """The labels of the models that are best by the column COLUMNS[index], if any is better than another."""
    better = COLUMNS[index].better
    values = {row.model.label: cells_of(row)[index].value for row in rows}
    known = [value for value in values.values() if value is not None]
    if not better or len(set(known)) < 2:
        return set()
    best = max(known) if better > 0 else min(known)
    return {label for label, value in values.items() if value == best}


def table(comparison: Comparison) -> Group:
    """For a terminal: a block for each test set and degradation; their columns stand below each other."""
    shown = columns_of(comparison)
    every = [row for on in comparison.sets for row in rows_of(comparison, on)]
    widths = [
        max(
            len(text)
            for text in (
                column.head,
                *column.unit.split("\n"),
                *(shown_cells(comparison, row)[i].text for row in every),
            )
        )
        for i, column in enumerate(shown)
    ]
    labels = [model.label for model in comparison.models]
    labels += [each.label for on in comparison.sets for each in theirs_of(on)]
    longest = max(map(len, labels))
    parts: list[RenderableType] = [Text(title(comparison), style="bold")]
    for on in comparison.sets:
        made = Table(box=SIMPLE_HEAD)
        made.add_column("model", min_width=min(longest, 26), overflow="fold")
        for column, width in zip(shown, widths, strict=True):
            made.add_column(f"{column.head}\n{column.unit}".strip(), justify="right", min_width=width)
        rows = rows_of(comparison, on)
        best = {column: best_of(rows, COLUMNS.index(column)) for column in shown}
        for row in rows:
            cells = [
                Text(cell.text, style=_style(column, cell, row.model.label in best[column]))
                for column, cell in zip(shown, shown_cells(comparison, row), strict=True)
            ]
            made.add_row(row.model.label, *cells)
        for each in theirs_of(on):
            cells = [Text(cell.text) for cell in shown_cells(comparison, each)]
            made.add_row(each.label, *cells, style="dim italic")
        parts += [Text(f"\n{heading(comparison, on)}", style="bold"), Text(protocol(comparison, on), style="dim"), made]
    return Group(*parts, *(Text(line, style="dim") for line in notes(comparison)))


def title(comparison: Comparison) -> str:
    """What stands over everything: `models: 5 models, x4`."""
    num = len(comparison.models)
    return f"{comparison.name}: {num} model{'s' * (num != 1)}, x{comparison.scale}"


def _style(column: Column, cell: Cell, is_best: bool) -> str:
    if column.head == "gain" and cell.value is not None:
        return ("bold " if is_best else "") + ("green" if cell.value > 0 else "red")
    return "bold" if is_best else ""


def markdown(comparison: Comparison) -> str:
    """The table in Markdown, one for each test set and degradation."""
    return "\n".join(_markdown_lines(comparison)) + "\n"


def _markdown_lines(comparison: Comparison) -> Iterator[str]:
    shown = columns_of(comparison)
    yield f"# {escaped(title(comparison))}"
    for on in comparison.sets:
        rows = rows_of(comparison, on)
        yield from ("", f"## {heading(comparison, on)}", "", protocol(comparison, on), "")
        heads = [f"{column.head} [{column.unit}]" if column.unit else column.head for column in shown]
        yield f"| model | {' | '.join(heads)} |"
        yield f"| --- |{' ---: |' * len(shown)}"
        for row in rows:
            cells = [
                f"**{cell.text}**" if row.model.label in best_of(rows, COLUMNS.index(column)) else cell.text
                for column, cell in zip(shown, shown_cells(comparison, row), strict=True)
            ]
            yield f"| {escaped(row.model.label)} | {' | '.join(cells)} |"
        for each in theirs_of(on):
            cells = [cell.text for cell in shown_cells(comparison, each)]
            yield f"| *{escaped(each.label)}* | {' | '.join(cells)} |"
    yield ""
    yield from (f"- {escaped(line)}" for line in notes(comparison))


def escaped(text: str) -> str:
    """`text` with what Markdown would read as more than letters escaped."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)
