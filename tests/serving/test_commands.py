"""`sr upscale` and `sr evaluate` are the library's commands, with models of any name."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows import cli
from serving import commands
from sr_core.data.images import write_png
from sr_core.data.pictures import read_picture
from sr_core.errors import CheckpointError, ConfigError
from sr_core.models import build
from sr_core.models.card import Card
from sr_core.train.weights import LoadedModel

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "a.png", PIXELS)
    return tmp_path


def test_the_entry_point_comes_here_and_reads_what_the_library_reads(here: Path) -> None:
    options = ["--model", "nearest", "--set", "data.scale=3"]
    assert cli.main(["upscale", "a.png", *options]) == 0
    np.testing.assert_array_equal(read_picture(here / "a-x3.png").pixels, PIXELS.repeat(3, 0).repeat(3, 1))


def test_a_model_is_opened_by_its_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_any(name: str, *, scale: int, say: object) -> LoadedModel:
        asked.append((name, scale))
        card = Card(model="nearest", preset="small", options={}, scale=2)
        return LoadedModel(network=build("nearest", scale=2, preset="small", options={}).eval(), card=card)

    monkeypatch.setattr(commands, "open_any", open_any)
    assert cli.main(["upscale", "a.png", "--model", "models:/sr-edsr-x2-bicubic@champion"]) == 0
    assert asked == [("models:/sr-edsr-x2-bicubic@champion", 4)]
    assert read_picture(here / "a-x2.png").pixels.shape == (18, 14, 3)


def test_its_usage_is_that_of_sr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["upscale", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("usage: sr upscale [-h]")
    assert "models:/name@champion or an .onnx file" in said


def test_a_model_that_is_not_there_is_a_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["upscale", "a.png", "--model", "absent.onnx"]) == CheckpointError.exit_code
    assert "absent.onnx" in capsys.readouterr().err
    assert cli.main(["upscale", "a.png"]) == ConfigError.exit_code
    assert "there is no params.yaml here" in capsys.readouterr().err


def test_models_of_any_name_are_measured(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_any(name: str, *, scale: int, say: object) -> LoadedModel:
        assert name in {"models:/sr-edsr-x2-bicubic@champion", "edsr.onnx"}
        kind = "nearest" if name.endswith(".onnx") else "lanczos"
        card = Card(model=kind, preset="small", options={}, scale=2)
        return LoadedModel(network=build(kind, scale=2, preset="small", options={}).eval(), card=card)

    monkeypatch.setattr(commands, "open_any", open_any)
    write_png(here / "set" / "b.png", np.tile(PIXELS, (4, 4, 1)))
    given = ["--model", "models:/sr-edsr-x2-bicubic@champion", "edsr.onnx", "--images", "set"]
    assert cli.main(["evaluate", *given, "--output", "report"]) == 0
    assert "lanczos" in capsys.readouterr().out
    report = json.loads((here / "report" / "report.json").read_text())
    assert set(report["means"]) == {"bicubic", "lanczos", "nearest"}
