"""The table of an evaluation for a terminal, and in words what its figures are worth."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sr_core.evaluate.benchmark import BASELINE, EvalReport


def table(report: EvalReport, *, most: int = 20) -> Table:
    """Bicubic against the networks, for a terminal: per image (the first `most`) and mean.

    With a judged network there are many networks, and they are the rows, with their means.
    """
    if report.perceptual and report.perceptual.judged:
        return _table_by_network(report)
    hidden = len(report.images) - most
    shown = _empty_table(report, [f"{hidden} more images are in the mean"] if hidden > 0 else [])
    shown.add_column("image", footer="mean")
    for model in report.models:
        mean = report.mean(model)
        shown.add_column(f"{model}\nPSNR", justify="right", footer=f"{mean.psnr:.2f}")
        shown.add_column("\nSSIM", justify="right", footer=f"{mean.ssim:.4f}")
        if report.perceptual:
            shown.add_column("\nNIQE", justify="right", footer=_niqe(mean.niqe))
        if model != BASELINE:
            shown.add_column("\ngain", justify="right", footer=_gain(report.gain_db(model)))
    for image in report.images[:most]:
        shown.add_row(image, *_cells(report, image))
    return shown


def _empty_table(report: EvalReport, notes: Sequence[str]) -> Table:
    said = [f"x{report.scale}, {report.test_set}, {report.precision}", report.protocol.describe(report.scale), *notes]
    if report.perceptual:
        originals = report.perceptual.originals
        known = "" if originals is None else f", the originals score {originals:.2f}"
        said += [f"{report.perceptual.label}; lower is better{known}", *verdict(report)]
    return Table(
        title="PSNR in dB, SSIM and NIQE" if report.perceptual else "PSNR in dB and SSIM",
        title_style="bold",
        caption="\n".join(said),
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_footer=True,
    )


def _table_by_network(report: EvalReport) -> Table:
    shown = _empty_table(report, [f"means over {len(report.images)} images"])
    shown.show_footer = False
    for name in ("", "PSNR", "SSIM", "gain", "NIQE"):
        shown.add_column(name, justify="right" if name else "left")
    judged = report.perceptual.judged if report.perceptual else None
    for model in report.models:
        mean = report.mean(model)
        gain = "" if model == BASELINE else _gain(report.gain_db(model))
        style = "bold" if model == judged else None
        shown.add_row(model, f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", gain, _niqe(mean.niqe), style=style)
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


def _niqe(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cells(report: EvalReport, image: str) -> list[str | Text]:
    cells: list[str | Text] = []
    for model in report.models:
        score = report.score(model, image)
        cells += [f"{score.psnr:.2f}", f"{score.ssim:.4f}"]
        if report.perceptual:
            cells.append(_niqe(score.niqe))
        if model != BASELINE:
            cells.append(_gain(score.psnr - report.score(BASELINE, image).psnr))
    return cells


def _gain(decibels: float) -> Text:
    return Text(f"{decibels:+.2f}", style="green" if decibels > 0 else "red")
