"""What people said of models, as a table: for a terminal, and for the page after voting."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING

from sr_core.evaluate.opinions import Opinions

if TYPE_CHECKING:
    from rich.table import Table

HEAD = ("model", "MOS", "votes", "strength", "won", "tied", "lost")
METHOD = (
    "MOS: mean of scores from 1 (bad) to 5 (excellent). Strength: Bradley-Terry, natural logarithm, mean 0, a tie is "
    "half a win. Intervals: 95 %, over raters."
)


def rows(said: Opinions) -> Iterator[tuple[str, ...]]:
    """One line for each model, in HEAD's columns: by mean opinion score, then by strength."""
    models = dict.fromkeys([*(each.model for each in said.means), *(each.model for each in said.strengths)])
    for model in models:
        mean, strength = said.mean(model), said.strength(model)
        scores = (mean.describe(), str(mean.num_votes)) if mean else ("-", "0")
        pairs = ("-", "0", "0", "0")
        if strength:
            pairs = (strength.describe(), str(strength.wins), str(strength.ties), str(strength.losses))
        yield (model, *scores, *pairs)


def as_table(said: Opinions) -> "Table":
    """For a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(
        title=f"{said.test_set}, {said.num_raters} {'rater' if said.num_raters == 1 else 'raters'}",
        title_style="bold",
        caption="\n".join((METHOD, *said.remarks)),
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in HEAD:
        shown.add_column(name, justify="left" if name == "model" else "right")
    for row in rows(said):
        shown.add_row(*row)
    return shown


def as_html(opinions: Iterable[Opinions]) -> str:
    """For the page."""
    parts = []
    for said in opinions:
        head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(said))
        remarks = "".join(f"<p>{escape(remark)}</p>" for remark in said.remarks)
        count = f"{said.num_raters} {'rater' if said.num_raters == 1 else 'raters'}"
        parts.append(f"<h3>{escape(said.test_set)}, {count}</h3><table><tr>{head}</tr>{body}</table>{remarks}")
    return "".join(parts) + f"<p>{escape(METHOD)}</p>"
