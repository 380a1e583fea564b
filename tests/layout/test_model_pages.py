"""Every network has a page in docs/, and the parameters that the pages count are those that are built."""

import functools
import re
from pathlib import Path

import pytest
import yaml
from source_tree import ROOT

from sr_core.models import MODELS, build

PAGES = sorted((ROOT / "docs" / "models").glob("*.md"))
INDEX = ROOT / "docs" / "models.md"


def counted(page):
    """(network, preset, options, scale, number) of each cell of the page's tables of parameters."""
    scales = []
    for line in page.read_text(encoding="utf-8").splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if first.startswith("parameters"):
            scales = [int(cell.removeprefix("x")) for cell in cells]
        elif not line.startswith("|"):
            scales = []
        elif scales and (names := re.findall(r"`([^`]+)`", first)):
            options = yaml.safe_load(names[2]) if len(names) > 2 else {}
            yield from ((*names[:2], options, scale, cell) for scale, cell in zip(scales, cells, strict=True))


@functools.cache
def number_of_parameters(name, preset, options, scale):
    network = build(name, scale=scale, preset=preset, options=dict(options))
    return sum(parameter.numel() for parameter in network.parameters())


def of_page(page: Path):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_a_page_counts_the_parameters_that_there_are(page):
    cells = list(counted(page))
    assert cells, f"{page.name}: expected a table of parameters by scale"
    for name, preset, options, scale, cell in cells:
        where = f"{page.name}: {name} {preset} {options} x{scale}"
        if scale not in MODELS[name].scales:
            assert cell == "–", f"{where} does not exist"
            continue
        first = next(other for other, entry in MODELS.items() if entry is MODELS[name])  # esrgan is rrdb
        number = number_of_parameters(first, preset, tuple(options.items()), scale)
        assert cell == f"{number:,}", f"{where}: has {number:,}"


def test_every_network_is_in_the_index_and_counted_on_a_page():
    index = INDEX.read_text(encoding="utf-8")
    assert [name for name in MODELS if f"`{name}`" not in index] == []
    on_pages = {name for page in PAGES for name, *_ in counted(page)}
    assert {name for name, entry in MODELS.items() if entry.is_trainable} <= on_pages


def test_every_preset_of_a_paper_is_counted():
    on_pages = {(name, preset) for page in PAGES for name, preset, *_ in counted(page)}
    ours = {(name, preset) for name, entry in MODELS.items() for preset in entry.presets if entry.is_trainable}
    assert {(name, preset) for name, preset in ours - on_pages if preset != "small"} == set()
