"""What is said of a data set, in words alone: the same for the terminal and for the page."""

import dataclasses
import re
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sr_core.errors import listed

_NUMBER = re.compile(r"[\d.]+( [kMGT]?B)?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    @property
    def is_number(self) -> tuple[bool, ...]:
        """By column, whether it holds numbers alone, which stand on the right."""
        return tuple(all(map(_NUMBER.fullmatch, column)) for column in zip(*self.lines, strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A data set in figures, tables and sentences."""

    title: str
    place: str
    facts: Mapping[str, str]  # the figures to see first, by what they are
    sections: tuple[Section, ...]
    remarks: tuple[str, ...]
    problems: tuple[str, ...]  # what is missing or refused, each one sentence


def show(report: Report) -> None:
    """The report on standard output."""
    console = Console(highlight=False, markup=False)
    console.print(f"{report.title}: {report.place}", soft_wrap=True)
    width = max(map(len, report.facts), default=0)
    for name, value in report.facts.items():
        console.print(f"  {name:<{width}}  {value}")
    for section in report.sections:
        if section.lines:
            console.print(_table(section))
    for line in report.remarks:
        console.print(line, soft_wrap=True)
    if report.problems:
        console.print(f"{len(report.problems)} missing or refused:{listed(report.problems)}", soft_wrap=True)


def _table(section: Section) -> Table:
    table = Table(title=section.title, title_justify="left")
    for name, is_number in zip(section.head, section.is_number, strict=True):
        table.add_column(name, justify="right" if is_number else "left")
    for line in section.lines:
        table.add_row(*map(Text, line))
    return table
