"""The page: all of a survey in one HTML file, its pictures inside, without scripts or anything to fetch."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from sr_core.inspect.report import Report, Section

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --pale: #70757c; --paper: #fff; --rule: #e2e5e9; --tint: #f5f7f9;
  --accent: #2a6fb7; --bad: #be2828 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --pale: #9aa0a6; --paper: #17191c; --rule: #33373c;
  --tint: #202327; --accent: #7fb2e8; --bad: #f28b82 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1240px; padding: 32px 24px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 28px; margin: 0 } h2 { font-size: 19px; margin: 40px 0 12px }
p { margin: 4px 0; color: var(--pale) }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin-top: 24px }
.facts div { background: var(--tint); border-radius: 8px; padding: 12px 16px }
.facts b { display: block; font-size: 22px; font-weight: 600; overflow-wrap: anywhere }
.facts span { color: var(--pale) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 6px 20px 6px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top }
th { color: var(--pale); font-weight: 500 } td.number, th.number { text-align: right }
img { max-width: 100%; height: auto; border-radius: 6px; background: #fff }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 16px }
li { overflow-wrap: anywhere; white-space: pre-wrap } .bad h2 { color: var(--bad) }
"""


def as_html(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The page; `pictures` are PNG files by what they show."""
    title = escape(report.title)
    first, *others = report.sections
    parts = [
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{title}</title><style>{STYLE}</style>",
        f"<h1>{title}</h1><p>{escape(report.place)}</p>",
        _facts(report.facts),
        "".join(f"<p class=remark>{escape(line)}</p>" for line in report.remarks),
        _problems(report.problems),
        _table(first),
        _sheet(pictures),
        _plots(pictures),
        *map(_table, others),
        "</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _facts(facts: Mapping[str, str]) -> str:
    boxes = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts.items())
    return f"<div class=facts>{boxes}</div>"


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in problems)
    return f"<section class=bad><h2>Missing or refused ({len(problems)})</h2><ul>{lines}</ul></section>"


def _table(section: Section) -> str:
    if not section.lines:
        return ""
    kinds = [" class=number" if is_number else "" for is_number in section.is_number]

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in section.lines)
    title = escape(section.title)
    return f"<h2>{title}</h2><div class=scroll><table><tr>{line(section.head, 'th')}</tr>{body}</table></div>"


def _sheet(pictures: Mapping[str, bytes]) -> str:
    if "sheet" not in pictures:
        return ""
    return f"<h2>Contact sheet</h2>{_image(pictures['sheet'], 'contact sheet')}"


def _plots(pictures: Mapping[str, bytes]) -> str:
    images = "".join(_image(data, f"plot of {name}") for name, data in pictures.items() if name != "sheet")
    return f"<h2>Distributions</h2><div class=plots>{images}</div>" if images else ""


def _image(data: bytes, text: str) -> str:
    return f"<img alt='{text}' src='data:image/png;base64,{base64.b64encode(data).decode()}'>"
