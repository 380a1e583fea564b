"""docs/scale.md says what docs/scale.json and the model say; benchmarks/scale.py --write renews both."""

import json
import re
import subprocess
import sys

import pytest
import scale


@pytest.fixture(scope="module")
def figures():
    return json.loads(scale.FIGURES.read_text())


def test_the_documents_tables_are_those_of_the_figures(figures):
    text = scale.DOCUMENT.read_text()
    arguments = scale.parser().parse_args([])
    assert scale.measured_tables(figures) in text
    assert scale.predicted_table(scale.assumed_gpu(arguments, figures), scale.LINKS, scale.BATCH) in text


def test_new_figures_come_between_the_markers(figures, tmp_path, monkeypatch):
    copy = tmp_path / "scale.md"
    copy.write_text(
        "above\n<!-- measured -->\nold\n<!-- end of measured -->\nbelow <!-- predicted --><!-- end of predicted -->"
    )
    monkeypatch.setattr(scale, "DOCUMENT", copy)
    scale.write_document(figures, scale.parser().parse_args([]))
    text = copy.read_text()
    assert "old" not in text
    assert text.startswith(f"above\n<!-- measured -->\n\n{scale.measured_tables(figures)}")
    assert "below <!-- predicted -->\n\nEDSR-full: 43,089,923 parameters" in text


def test_own_figures_are_predicted_without_measuring():
    command = [sys.executable, scale.__file__, "--predict", "--step-s", "0.12", "--bandwidth-gbps", "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "One GPU: 120 ms for 16 crops" in done.stdout
    assert re.search(r"^\| 200 Gb/s \| 8 \| 128 \| 16 \| \d+ \| 120 \| 12.2 \|", done.stdout, re.MULTILINE)
    assert "| 200 Gb/s | 512 | 16 | less than 1 |" in done.stdout
