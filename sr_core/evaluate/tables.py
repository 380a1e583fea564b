"""The tables of evaluations, for a terminal and as Markdown, and in words what their figures are worth.

Published figures stand below ours only where test set, scale and protocol are the same (`sr_core.evaluate.published`).
"""

import dataclasses
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sr_core.evaluate import published
from sr_core.evaluate.records import BASELINE, EvalReport

MOST_WIDE = 2  # networks, bicubic among them, whose PSNR, SSIM and gain are columns of one table


def table(report: EvalReport, *, most: int = 20) -> RenderableType:
    """Bicubic against the networks, for a terminal: per image (the first `most`) and mean, and published figures below.

    Where there are many networks they are the rows, with their means, and per image stands PSNR alone; with a judged
    network the means alone.
    """
    is_judged = report.perceptual is not None and report.perceptual.judged is not None
    parts: list[RenderableType] = []
    if is_judged:
        parts = [_table_by_network(report)]
    elif len(report.models) > MOST_WIDE:
        parts = [_table_of_images(report, most), _table_by_network(report)]
    else:
        parts = [_table_by_image(report, most)]
    if published.beside(report):
        parts.append(_table_of_published(report))
    return Group(*parts) if len(parts) > 1 else parts[0]


def _table_of_images(report: EvalReport, most: int) -> Table:
    """PSNR alone, where there are many networks."""
    hidden = len(report.images) - most
    shown = Table(title="PSNR in dB", title_style="bold", box=SIMPLE_HEAD, caption_justify="left")
    shown.caption = f"{hidden} more images are in the means" if hidden > 0 else None
    for name in ("image", *report.models):
        shown.add_column(name, justify="left" if name == "image" else "right")
    for image in report.images[:most]:
        shown.add_row(image, *(f"{report.score(model, image).psnr:.2f}" for model in report.models))
    return shown


def _table_by_image(report: EvalReport, most: int) -> Table:
    hidden = len(report.images) - most
    shown = _empty_table(report, [f"{hidden} more images are in the mean"] if hidden > 0 else [])
    shown.add_column("image", footer="mean")
    for model in report.models:
        mean = report.mean(model)
        shown.add_column(f"{model}\nPSNR", justify="right", footer=f"{mean.psnr:.2f}")
        shown.add_column("\nSSIM", justify="right", footer=f"{mean.ssim:.4f}")
        if report.perceptual:
            shown.add_column("\nNIQE", justify="right", footer=_known(mean.niqe, 2))
        if report.learned:
            shown.add_column("\nLPIPS", justify="right", footer=_known(mean.lpips, 4))
        if model != BASELINE:
            shown.add_column("\ngain", justify="right", footer=_gain(report.gain_db(model)))
    for image in report.images[:most]:
        shown.add_row(image, *_cells(report, image))
    return shown


def _empty_table(report: EvalReport, notes: Sequence[str]) -> Table:
    names = ["PSNR in dB", "SSIM", *(["NIQE"] if report.perceptual else []), *(["LPIPS"] if report.learned else [])]
    return Table(
        title=f"{', '.join(names[:-1])} and {names[-1]}",
        title_style="bold",
        caption="\n".join([*_said(report), *notes, *_said_of_scores(report)]),
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_footer=True,
    )


def _said(report: EvalReport) -> list[str]:
    """What makes the figures of a report comparable."""
    lr = [f"LR: {report.lr_source}"] if report.lr_source else []
    return [f"x{report.scale}, {report.set_named}, {report.precision}", report.protocol.describe(report.scale), *lr]


def _said_of_scores(report: EvalReport) -> list[str]:
    said = [f"{name}: mean over the 8 symmetries" for name, facts in report.facts.items() if facts.ensemble]
    if report.perceptual:
        known = (
            "" if report.perceptual.originals is None else f", the originals score {report.perceptual.originals:.2f}"
        )
        said += [f"{report.perceptual.label}; lower is better{known}", *verdict(report)]
    if report.learned:
        said.append(f"{report.learned.label}; lower is better, {report.learned.crop} pixels left out on every side")
    doubt = published.doubt(report)
    return [*said, doubt] if doubt else said


def _table_by_network(report: EvalReport) -> Table:
    shown = _empty_table(report, [f"means over {len(report.images)} images"])
    shown.show_footer = False
    scores = [*(["NIQE"] if report.perceptual else []), *(["LPIPS"] if report.learned else [])]
    for name in ("", "PSNR", "SSIM", "gain", *scores):
        shown.add_column(name, justify="right" if name else "left")
    judged = report.perceptual.judged if report.perceptual else None
    for model in report.models:
        mean = report.mean(model)
        gain = "" if model == BASELINE else _gain(report.gain_db(model))
        niqe = [_known(mean.niqe, 2)] if report.perceptual else []
        lpips = [_known(mean.lpips, 4)] if report.learned else []
        style = "bold" if model == judged else None
        shown.add_row(model, f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", gain, *niqe, *lpips, style=style)
    return shown


def verdict(report: EvalReport) -> tuple[str, ...]:
    """In a sentence, whether the perceptual score tells the judged network from noise; none where there is no network.

    `NIQE discriminates: the control, parent with noise to 27.10 dB, scores 9.46, worse than srgan (5.02) and …`
    """
    about = report.perceptual
    if about is None or about.judged is None:
        return ()
    if about.parent is None or about.control is None:
        return ("whether NIQE discriminates was not measured: there is no parent to make a control of",)
    own, parent, control = (report.mean(name) for name in (about.judged, about.parent, about.control))
    if own.niqe is None or parent.niqe is None or control.niqe is None:
        return ("whether NIQE discriminates was not measured: the images are too small for it",)
    says = "NIQE discriminates" if report.discriminates else "NIQE does NOT discriminate"
    against = [
        f"{'worse' if control.niqe > niqe else 'no worse'} than {name} ({niqe:.2f})"
        for name, niqe in ((about.judged, own.niqe), (about.parent, parent.niqe))
    ]
    noise = f"the control, {about.parent} with noise to {control.psnr:.2f} dB, scores {control.niqe:.2f}"
    return (f"{says}: {noise}, {against[0]} and {against[1]}",)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A row of a table of means: one of our networks, or a published figure."""

    name: str
    is_ours: bool
    psnr: float
    ssim: float | None
    trained_on: str
    source: str


def lines(report: EvalReport) -> tuple[Line, ...]:
    """Our means and the published figures beside them, by PSNR within each; ours first in the order of the report."""
    ours = [
        Line(
            name=model,
            is_ours=True,
            psnr=report.mean(model).psnr,
            ssim=report.mean(model).ssim,
            trained_on=_trained_on(report, model),
            source="measured here",
        )
        for model in report.models
    ]
    theirs = [
        Line(
            name=each.name,
            is_ours=False,
            psnr=each.psnr,
            ssim=each.ssim,
            trained_on=each.trained_on,
            source=each.source,
        )
        for each in published.beside(report)
    ]
    return (*ours, *theirs)


def _trained_on(report: EvalReport, model: str) -> str:
    facts = report.facts.get(model)
    if facts is None:
        return ""
    return facts.trained_on or ("nothing" if facts.num_parameters == 0 else "not known")


def _table_of_published(report: EvalReport) -> Table:
    shown = Table(
        title="beside published figures",
        title_style="bold",
        caption=f"{report.set_named} x{report.scale}, {report.protocol.describe(report.scale)}; bicubic LR",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("", "PSNR", "SSIM", "trained on", "source"):
        shown.add_column(name, justify="right" if name in {"PSNR", "SSIM"} else "left")
    for line in lines(report):
        cells = (line.name, f"{line.psnr:.2f}", _known(line.ssim, 4), line.trained_on, line.source)
        shown.add_row(*cells, style="bold" if line.is_ours else None)
    return shown


def markdown(report: EvalReport) -> str:
    """The means of `report` and the published figures beside them, as a Markdown table with its protocol below."""
    rows = ["| | PSNR, dB | SSIM | trained on | source |", "|---|---:|---:|---|---|"]
    for line in lines(report):
        name = f"**{line.name}**" if line.is_ours else line.name
        rows.append(f"| {name} | {line.psnr:.2f} | {_known(line.ssim, 4)} | {line.trained_on} | {line.source} |")
    return "\n".join([*rows, "", "; ".join([*_said(report), *_said_of_scores(report)]), ""])


def summary(reports: Sequence[EvalReport]) -> Table:
    """The mean PSNR and SSIM of every network on several test sets, each by its own protocol."""
    shown = Table(title="mean PSNR in dB / SSIM", title_style="bold", caption_justify="left", box=SIMPLE_HEAD)
    shown.add_column("")
    for report in reports:
        shown.add_column(f"{report.set_named} x{report.scale}\n{report.protocol.name}", justify="right")
    shown.caption = "\n".join(dict.fromkeys(report.protocol.describe(report.scale) for report in reports))
    columns = [{(line.is_ours, line.name): line for line in lines(report)} for report in reports]
    for is_ours, name in dict.fromkeys(key for column in columns for key in sorted(column, key=lambda key: not key[0])):
        found = [column.get((is_ours, name)) for column in columns]
        label = name if is_ours else f"{name} (published, {next(line.trained_on for line in found if line)})"
        cells = [f"{line.psnr:.2f} / {_known(line.ssim, 4)}" if line else "" for line in found]
        shown.add_row(label, *cells, style="bold" if is_ours else None)
    return shown


def _known(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _cells(report: EvalReport, image: str) -> list[str | Text]:
    cells: list[str | Text] = []
    for model in report.models:
        score = report.score(model, image)
        cells += [f"{score.psnr:.2f}", f"{score.ssim:.4f}"]
        if report.perceptual:
            cells.append(_known(score.niqe, 2))
        if report.learned:
            cells.append(_known(score.lpips, 4))
        if model != BASELINE:
            cells.append(_gain(score.psnr - report.score(BASELINE, image).psnr))
    return cells


def _gain(decibels: float) -> Text:
    return Text(f"{decibels:+.2f}", style="green" if decibels > 0 else "red")
