"""The verbs as they are typed: their options are a promise, their failures a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
from photos import write_folder

from sr_core.__main__ import _parser, main
from sr_core.config import load
from sr_core.train import run

ROOT = Path(__file__).resolve().parents[2]
COMMON = {"--help", "--params", "--set"}
OPTIONS = {
    "inspect": {"dataset", "--output"},
    "fetch": set(),
    "shard": set(),
    "train": {"--run"},
    "status": {"run", "--watch"},
    "evaluate": {"--model", "--images", "--degradation", "--protocol", "--ensemble", "--output"},
    "fit-niqe": {"photographs", "--output"},
    "upscale": {"images", "--model", "--output", "--format", "--recursive", "--overwrite"}
    | {"--ensemble", "--memory", "--tile", "--precision"},
    "import": {"file", "--output", "--overwrite"},
    "export": {"model", "--output", "--overwrite"},
    "interpolate": {"first", "second", "--alpha", "--output", "--overwrite"},
}
TINY = ["train.steps=2", "train.batch=2", "train.num_threads=1", "data.scale=2", "data.crop=8", "data.num_writers=1"]
SMALL = ["model.options={num_blocks: 1, num_features: 8}", "data.source=folder"]


def test_the_options_are_those_that_users_know():
    verbs = next(action.choices for action in _parser()._actions if action.dest == "verb")
    found = {
        verb: {a.option_strings[-1] if a.option_strings else a.dest for a in parser._actions} - COMMON
        for verb, parser in verbs.items()
    }
    assert found == OPTIONS
    reading = {verb for verb, parser in verbs.items() if "--set" in parser._option_string_actions}
    assert reading == OPTIONS.keys() - {"export", "interpolate"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The arguments of a job on four small photographs."""
    root = tmp_path_factory.mktemp("cli")
    folder = write_folder(root / "photos", [(40, 48), (48, 56), (56, 40), (60, 44)])
    values = [*TINY, *SMALL, "recipes={}", f"data.root={root}", f"data.folder={folder}"]
    return ["--params", str(ROOT / "params.yaml"), *(word for value in values for word in ("--set", value))]


def test_from_photographs_to_an_enlarged_one(settings, capsys, tmp_path):
    for verb in ("fetch", "shard", "train", "status", "evaluate"):
        assert main([verb, *settings]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "validation PSNR" in said
    assert "step 2/2" in said
    params = load(settings[1], settings[3::2])
    assert (run.model_directory(params) / "card.json").is_file()
    photograph = Path(params.data.folder) / "00.png"
    assert main(["upscale", str(photograph), "--output", str(tmp_path), *settings]) == 0
    assert (tmp_path / "00-x2.png").is_file()
    limit = ["--set", "data.max_pixels=99"]
    assert main(["upscale", str(photograph), "--output", str(tmp_path / "new"), *settings, *limit]) != 0
    assert "00.png: is 48x40 pixels, more than data.max_pixels 99" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["train", "--set", "train.stepz=3"], 2, "train.stepz: no such key; did you mean steps?"),
        (["train", "--params", "absent.yaml"], 2, "absent.yaml: cannot be read"),
        (["train", "--set", "data.root=/absent/root"], 4, "run `python -m sr_core shard`"),
        (["status", "/absent"], 5, "/absent: is not a run directory"),
        (["upscale", "photo.jpg", "--model", "/absent"], 5, "/absent/card.json: missing"),
    ],
)
def test_a_failure_is_a_sentence_and_a_code(arguments, code, sentence):
    command = [sys.executable, "-m", "sr_core", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr.startswith(f"{arguments[0]}: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
