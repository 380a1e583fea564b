"""Models beside each other as a flow: what a user may name, what is said of mistakes, and what is left in MLflow."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import made
import numpy as np
import pytest
from deployed import environment, write_project
from processes import MARK, alive

from flows.compare import log
from flows.compare_run import log_comparison
from flows.comparing import Asked, lined_up, published
from serving.store import connect
from sr_core import config
from sr_core.compare.report import COMPARISON, read_comparison
from sr_core.compare.run import compare_to
from sr_core.data.images import write_png
from sr_core.errors import ConfigError
from sr_core.params import CompareParams
from sr_core.train.weights import read_card

pytestmark = [
    pytest.mark.timeout(240),
    # MLflow's and SQLAlchemy's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy"),
]


def photographs(folder, side=48):
    random = np.random.default_rng(0)
    for i in range(2):
        write_png(folder / f"{i}.png", random.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return str(folder)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Two published models of x2, one of x4, and a folder of images; the current folder is that of the project."""
    monkeypatch.chdir(tmp_path)
    data = {"scale": 2, "degradation": "bicubic"}
    params = made.params(tmp_path, data=data, compare={"validation": False, "images": [photographs(tmp_path / "Set2")]})
    made.write_model(params, seed=1)
    other = dataclasses.replace(params, data=dataclasses.replace(params.data, degradation="unknown"))
    made.write_model(other, seed=2)
    made.write_model(dataclasses.replace(params, data=dataclasses.replace(params.data, scale=4)), seed=3)
    return Asked(params=params)


def labels(asked):
    return [entrant.label for entrant in lined_up(asked).entrants]


def test_all_models_published_for_the_scale_take_part(asked):
    root = asked.params.data.root
    expected = [f"{root}/models/edsr-x2-{degradation}" for degradation in ("bicubic", "unknown")]
    assert list(published(asked.params)) == expected
    digits = [read_card(made.Path(path)).weights_sha256[:8] for path in expected]
    assert labels(asked) == [f"edsr-{each}" for each in digits]


def test_interpolation_takes_the_scale_of_the_others(asked):
    four = f"{asked.params.data.root}/models/edsr-x4-bicubic"
    lineup = lined_up(dataclasses.replace(asked, models=("lanczos", four)))
    assert [(each.label, each.loaded.card.scale) for each in lineup.entrants] == [("lanczos", 4), ("edsr", 4)]
    assert [each.name for each in lineup.sets] == ["Set2-x4-bicubic"]
    alone = lined_up(dataclasses.replace(asked, models=("lanczos",)))
    assert alone.sets[0].images.scale == 2, "data.scale"


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_computed(asked, tmp_path):
    root = asked.params.data.root
    (tmp_path / "junk.pth").write_text("no weights")
    (tmp_path / "Empty").mkdir()
    shutil.copytree(f"{root}/models/edsr-x2-bicubic", tmp_path / "copy")
    models = (f"{root}/models/edsr-x2-bicubic", "copy", "junk.pth", "absent", f"{root}/models/edsr-x4-bicubic")
    wrong = dataclasses.replace(asked, models=models, images=("Set2", "Empty"), validation=True)
    with pytest.raises(ConfigError) as error:
        lined_up(wrong)
    lines = str(error.value).splitlines()
    assert lines[0] == "nothing was compared, 6 wrong:", lines
    expected = (
        "junk.pth: begins with",
        "absent/card.json: missing",
        f"copy: is the same model as {models[0]}",
        f"different scales, expected one (x2: {models[0]}, copy; x4: {models[4]})",
        "shards",
        "Empty: holds no test images",
    )
    said = "\n".join(lines)
    assert [text for text in expected if text not in said] == []
    assert not (made.Path(root) / "compare").exists()


def test_no_model_at_all(asked):
    three = dataclasses.replace(asked.params, data=dataclasses.replace(asked.params.data, scale=3))
    with pytest.raises(ConfigError, match=r"no model for x3 is published in .*models; train one"):
        lined_up(dataclasses.replace(asked, params=three))


def test_a_damaged_card_of_a_published_model_is_said(asked):
    (made.Path(asked.params.data.root) / "models" / "edsr-x2-unknown" / "card.json").write_text("{")
    with pytest.raises(ConfigError, match=r"1 wrong:\n .*edsr-x2-unknown/card.json: is not a model card"):
        lined_up(asked)


def test_validation_images_are_those_of_the_shards_and_only_where_nothing_else_is_named(asked):
    validating = dataclasses.replace(asked.params, compare=CompareParams())
    with pytest.raises(ConfigError, match="shards"):
        lined_up(dataclasses.replace(asked, params=validating))
    named = dataclasses.replace(asked, params=validating, images=("Set2",))
    assert [each.name for each in lined_up(named).sets] == ["Set2-x2-bicubic"]


def test_of_the_matrix_a_folder_takes_what_can_be_made(asked):
    matrix = dataclasses.replace(asked.params.matrix, degradations=("unknown", "mixed"))
    lineup = lined_up(dataclasses.replace(asked, params=dataclasses.replace(asked.params, matrix=matrix)))
    assert [each.name for each in lineup.sets] == ["Set2-x2-unknown"]
    assert len(lineup.choice.remarks) == 1
    assert "mixed" in lineup.choice.remarks[0]


@pytest.fixture
def compared(asked, empty_store):
    """A comparison in its directory, and an empty MLflow store beside it."""
    shutil.copyfile(empty_store, "mlflow.db")
    lineup = lined_up(dataclasses.replace(asked, models=("lanczos",)))
    choice = dataclasses.replace(lineup.choice, rounds=1, num_pictures=1)
    return asked, compare_to(asked.directory, lineup.entrants, lineup.sets, choice)


def test_a_run_of_mlflow_holds_figures_and_files_once(compared):
    asked, found = compared
    run_id = log_comparison(found, asked.directory, asked.params.track)
    assert log_comparison(found, asked.directory, asked.params.track) == run_id
    client = connect(asked.params.track.uri)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "compare-models")
    mean = found.sets[0].report.mean("lanczos")
    assert run.data.metrics["Set2-x2-bicubic/lanczos/psnr"] == pytest.approx(mean.psnr)
    assert run.data.metrics["lanczos/s_per_megapixel"] > 0
    assert run.data.params["set.Set2-x2-bicubic"] == "x2, Set2, benchmark-y (Y, 2 pixels shaved), float32"
    names = {artefact.path for artefact in client.list_artifacts(run_id, "compare")}
    assert {"compare/compare.json", "compare/index.html", "compare/gallery", "compare/images"} <= names
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_a_server_that_is_down_is_said_and_the_comparison_stays(compared):
    asked, found = compared
    track = dataclasses.replace(asked.params.track, uri=f"http://127.0.0.1:{made.free_port()}")
    said = log.fn(found, asked.directory, track)
    assert re.match(r"not logged to MLflow: track.uri: no MLflow server answers at http://127.0.0.1:\d+ ", said)
    assert read_comparison(asked.directory) == found


def test_the_command_from_names_to_a_table(tmp_path):
    write_project(tmp_path)
    params = config.load(tmp_path / "params.yaml")
    model = made.write_model(dataclasses.replace(params, data=params.data.with_absolute_paths()), seed=1)
    shutil.move(model, tmp_path / "mine")
    command = ["--model", "mine", "--model", "lanczos", "--images", "photographs", "--name", "two", "--set"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "compare", *command, "compare.rounds=1"],
        cwd=tmp_path,
        env=environment(tmp_path, **{MARK: "compare-command"}),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert alive("compare-command") == {}
    lines = done.stdout.splitlines()
    assert lines[0] == "starting a Prefect server for this run"
    assert any(re.fullmatch(r"MLflow run \w{32} in the experiment super-resolution", line) for line in lines)
    rows = [line.split()[0] for line in lines if re.match(r"  \S+ +-?\d+\.\d\d ", line)]
    assert rows == ["bicubic", "edsr", "lanczos"]
    assert lines[-1] == "page: data/compare/two/index.html"
    tree = json.loads((tmp_path / "data" / "compare" / "two" / COMPARISON).read_text())
    assert [each["source"] for each in tree["models"]] == ["bicubic", "mine", "lanczos"]
    assert [each["name"] for each in tree["sets"]] == ["photographs-x2-bicubic"]
