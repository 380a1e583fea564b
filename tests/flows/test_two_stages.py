"""A model that begins with another one of the table: which is trained first, and by what."""

import dataclasses
import json
import re
import subprocess
import sys
import uuid

import made
import pytest
import yaml
from deployed import environment, write_project
from processes import MARK, alive

from flows import train
from sr_core import config
from sr_core.data import shards
from sr_core.errors import CheckpointError, ConfigError
from sr_core.params import AdversarialParams
from sr_core.progress import QUIET
from sr_core.train.run import model_directory

RECIPES = {
    "srresnet": {"train": {"steps": 6, "loss": "mse"}},
    "srgan": {
        "train": {"steps": 4, "start": "srresnet"},
        "adversarial": {
            "loss": "vanilla",
            "content": "pixel",
            "discriminator_features": 4,
            "discriminator_dense": 8,
        },
    },
}


def write_recipes(folder, recipes, **sections):
    path = folder / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    for name, values in sections.items():
        tree[name] |= values
    path.write_text(yaml.safe_dump(tree | {"recipes": recipes}))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_srgan_trains_srresnet_first_and_ends_in_the_registry(tmp_path, monkeypatch):
    """Photographs are large enough for NIQE; the network's options and the data are those of both stages."""
    write_project(tmp_path, size=(200, 400), log_every=2, eval_every=4, checkpoint_every=4)
    write_recipes(tmp_path, RECIPES, launch={"num_workers": 1}, data={"crop": 16})
    monkeypatch.chdir(tmp_path)
    shards.build(config.load("params.yaml").data, progress=QUIET)  # what is tested here is not Ray
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [sys.executable, "-m", "flows.train", "srgan", "--set", "model.options.num_blocks=2", "--set", "train.lr=1e-5"],
        cwd=tmp_path,
        env=environment(tmp_path, **{MARK: mark}),
        capture_output=True,
        text=True,
    )
    out = done.stdout
    assert (done.returncode, done.stderr) == (0, ""), out
    assert alive(mark) == {}
    models = tmp_path / "data" / "models"
    first = "srgan-x2-bicubic begins with data/models/srresnet-x2-bicubic, which is not there: it is trained first"
    began = re.search(rf"begins with {models}/srresnet-x2-bicubic \(srresnet x2, \w+\): \d+ tensors", out)
    assert 0 < out.index(first) < out.index("training srresnet-x2-bicubic: 6") < began.start()
    assert began.start() < out.index("registered sr-srgan-x2-bicubic version 1")
    cards = {name: json.loads((models / f"{name}-x2-bicubic" / "card.json").read_text()) for name in RECIPES}
    assert all(card["options"]["num_blocks"] == 2 for card in cards.values())
    started = [json.loads(path.read_text()) for path in (tmp_path / "data" / "runs").glob("*/params.json")]
    rates = {each["params"]["model"]["name"]: each["params"]["train"]["lr"] for each in started}
    assert rates == {"srresnet": 1e-4, "srgan": 1e-5}
    sha256 = cards["srresnet"]["weights_sha256"]
    assert [each["start"] for each in started if "start" in each] == [{"given": "srresnet", "sha256": sha256}]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.write_params(made.params(tmp_path), tmp_path / "params.yaml")
    return tmp_path


def first_stage(*overrides):
    """What the first stage does for the fine-tune that `overrides` describe, up to its first step."""
    child = config.load("params.yaml", overrides)
    train._train_parent(child, "params.yaml", overrides, above=(child.task,))


def test_a_published_model_is_taken_as_it_is(project, capsys):
    parent = config.load("params.yaml", ["train.steps=7"])
    made.write_model(parent)
    fine_tune = ("model.name=edsr", "train.start=edsr", "adversarial.loss=vanilla", "adversarial.content=pixel")
    first_stage(*fine_tune)
    assert "edsr-gan-x4-bicubic begins with " in (said := capsys.readouterr().out)
    assert "edsr-x4-bicubic as it is, although edsr has other parameters here; to train it anew: python -m" in said
    made.write_model(config.load("params.yaml"))
    first_stage(*fine_tune)
    assert capsys.readouterr().out == ""


def test_a_path_has_no_first_stage_and_must_be_there_unless_a_run_began_with_it(project):
    first_stage(f"train.start={made.write_model(config.load('params.yaml', ['data.scale=2']))}")
    with pytest.raises(CheckpointError, match=r"^train\.start: there is no file or folder /nowhere;"):
        first_stage("train.start=/nowhere")
    made.start_run(config.load("params.yaml"))
    first_stage("train.start=/nowhere")


def test_models_that_begin_with_each_other_are_named(project):
    write_recipes(project, {"srgan": {"train": {"start": "esrgan"}}, "esrgan": {"train": {"start": "srgan"}}})
    parent = config.load("params.yaml", ["model.name=esrgan"])
    with pytest.raises(ConfigError) as caught:
        train._train_parent(parent, "params.yaml", (), above=("srgan-x4-bicubic", "esrgan-x4-bicubic"))
    assert "srgan-x4-bicubic begins with esrgan-x4-bicubic begins with srgan-x4-bicubic;" in str(caught.value)


def test_a_parent_that_would_be_published_elsewhere_is_named(project):
    """Where the parameters' own section is adversarial, and no recipe says that the first stage is not."""
    own = dataclasses.replace(made.params(project), adversarial=AdversarialParams(loss="vanilla", content="pixel"))
    made.write_params(own, project / "params.yaml")
    with pytest.raises(ConfigError, match=r"^train\.start: srresnet means the model in .*/srresnet-x4-bicubic, but by"):
        first_stage("model.name=srgan", "train.start=srresnet")
    assert model_directory(own).name == "edsr-gan-x4-bicubic"
