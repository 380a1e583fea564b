"""Comparisons of models as the page shows them: data/compare/<name>/index.html in a frame."""

import html
from pathlib import Path
from urllib.parse import quote

PAGE, ADDRESS = "index.html", "comparisons"
NONE = "There is no comparison of models yet: `sr compare` makes one, with its table, plots and pictures."


def comparisons(root: Path) -> tuple[str, ...]:
    """Their names, the newest first."""
    pages = sorted((root / "compare").glob(f"*/{PAGE}"), key=lambda path: -path.stat().st_mtime)
    return tuple(path.parent.name for path in pages)


def frame(name: str | None) -> str:
    """HTML that shows the comparison `name`."""
    if not name:
        return ""
    address = f"{ADDRESS}/{quote(name)}/{PAGE}"
    title = html.escape(f"Comparison {name}", quote=True)
    return (
        f'<iframe src="{address}" title="{title}" loading="lazy" '
        f'style="width: 100%; height: 80vh; border: 0; background: white"></iframe>'
        f'<p><a href="{address}" target="_blank" rel="noopener">Open it in a tab of its own</a></p>'
    )
