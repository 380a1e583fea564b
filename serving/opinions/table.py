"""What people said of models beside what was measured, as a table: for a terminal, and for the page after voting."""

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from sr_core.compare.report import COMPARISON, Comparison, read_comparison
from sr_core.evaluate.opinions import Opinions

if TYPE_CHECKING:
    from rich.table import Table

HEAD = ("model", "PSNR", "SSIM", "MOS", "votes", "strength", "won/tied/lost")
METHOD = (
    "MOS: mean of scores from 1 (bad) to 5 (excellent). Strength: Bradley-Terry, natural logarithm, mean 0, a tie is "
    "half a win. Intervals: 95 %, over raters."
)


def figures_of(directory: Path) -> Comparison | None:
    """The comparison whose figures stand beside what people say; None: the directory has pictures alone."""
    return read_comparison(directory) if (directory / COMPARISON).exists() else None


def rows(said: Opinions, figures: Comparison | None) -> Iterator[tuple[str, ...]]:
    """One line for each model, in HEAD's columns: by mean opinion score, then by strength."""
    models = dict.fromkeys([*(each.model for each in said.means), *(each.model for each in said.strengths)])
    for model in models:
        mean, strength = said.mean(model), said.strength(model)
        scores = (mean.describe(), str(mean.num_votes)) if mean else ("-", "-")
        pairs = ("-", "-")
        if strength:
            pairs = (strength.describe(), f"{strength.wins}/{strength.ties}/{strength.losses}")
        yield (model, *_measured(model, said.test_set, figures), *scores, *pairs)


def _measured(model: str, test_set: str, figures: Comparison | None) -> tuple[str, str]:
    on = next((each for each in figures.sets if each.name == test_set), None) if figures else None
    if on is None or model not in on.report.models:
        return ("-", "-")
    mean = on.report.mean(model)
    return (f"{mean.psnr:.2f}", f"{mean.ssim:.4f}")


def _title(said: Opinions) -> str:
    return f"{said.test_set}, {said.num_raters} {'rater' if said.num_raters == 1 else 'raters'}"


def as_table(said: Opinions, figures: Comparison | None) -> "Table":
    """For a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(
        title=_title(said),
        title_style="bold",
        caption="\n".join((METHOD, *said.remarks)),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for name in HEAD:
        shown.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for row in rows(said, figures):
        shown.add_row(*row)
    return shown


def as_html(opinions: Iterable[Opinions], figures: Comparison | None) -> str:
    """For the page."""
    parts = []
    for said in opinions:
        head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(said, figures)
        )
        remarks = "".join(f"<p>{escape(remark)}</p>" for remark in said.remarks)
        parts.append(f"<h3>{escape(_title(said))}</h3><table><tr>{head}</tr>{body}</table>{remarks}")
    return "".join(parts) + f"<p>{escape(METHOD)}</p>"
