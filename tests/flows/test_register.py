"""The registry: one version for one set of weights, one champion, loadable anywhere; against real stores."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import made
import mlflow
import numpy as np
import pytest

from flows import lineage, promote, registry, track
from sr_core.errors import ConfigError, SrError, TrackError
from sr_core.train import run, weights
from sr_core.upscale import upscale

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")

NAME = "sr-edsr-x4-bicubic"


@pytest.fixture
def params(tracked):
    return tracked


@pytest.fixture
def client(params):
    return mlflow.MlflowClient(params.track.uri, registry_uri=params.track.uri)


def register(params, seed: int, psnr: float, **report) -> registry.RegisteredVersion:
    return registry.register(params, made.write_model(params, seed), made.write_report(params, psnr, **report))


def champion(client) -> int:
    return int(client.get_model_version_by_alias(NAME, "champion").version)


def aliases(client) -> dict[str, int]:
    return {alias: int(number) for alias, number in client.get_registered_model(NAME).aliases.items()}


def test_the_champion_changes_only_for_a_better_version_measured_the_same_way(params, client):
    assert register(params, 1, 28.0).champion
    assert champion(client) == 1

    worse = register(params, 2, 27.9)
    assert not worse.champion
    assert "not better: 27.9000 dB against 28.0000 dB of version 1" in worse.reason
    assert champion(client) == 1

    other_protocol = register(params, 3, 35.0, protocol="div2k-rgb")
    assert not other_protocol.champion
    assert "measured by div2k-rgb in float32, champion version 1 by benchmark-y" in other_protocol.reason
    assert champion(client) == 1

    other_images = register(params, 4, 35.0, digest="f" * 64)
    assert not other_images.champion
    assert "measured on sample (ffffffff), champion version 1 on sample (eeeeeeee)" in other_images.reason
    assert champion(client) == 1

    better = register(params, 5, 28.1)
    assert better.champion
    assert better.version == champion(client) == 5

    for version in (worse, other_protocol, other_images, better):
        tags = client.get_model_version(NAME, str(version.version)).tags
        assert tags["sr.champion_decision"] == version.reason


def test_what_a_person_rolled_back_does_not_return_by_itself(params, client):
    register(params, 1, 28.0)
    better = register(params, 2, 28.5)
    assert aliases(client) == {"champion": 2}
    promote.rollback(NAME, reason="it rings", uri=params.track.uri)
    again = register(params, 2, 28.5)  # as `dvc repro` and a flow that goes on do
    assert again.version == better.version
    assert again.reason == "refused: was rolled back (it rings); promote it if that is over"
    assert aliases(client) == {"champion": 1, "challenger": 2}
    promote.promote(f"models:/{NAME}@challenger", reason="it is over", uri=params.track.uri)
    assert register(params, 2, 28.5).champion
    refused = register(params, 3, 28.4)
    assert aliases(client) == {"champion": 2, "challenger": refused.version}


def test_the_same_weights_are_the_same_version(params, client):
    first = register(params, 1, 28.0)
    register(params, 2, 28.5)
    again = register(params, 1, 28.0)
    assert again.version == first.version
    assert not again.champion
    assert register(params, 2, 28.5).reason == "it holds the title, with 28.5000 dB"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2
    experiment = client.get_experiment_by_name(params.track.experiment).experiment_id
    assert len(client.search_runs([experiment])) == 2


def test_a_version_says_where_it_comes_from(params, client):
    version = register(params, 1, 28.0)
    tags = client.get_model_version(NAME, str(version.version)).tags
    (entry,) = [tags.pop(key) for key in list(tags) if key.startswith("sr.history.")]
    assert '"action": "register", "origin": null, "target": 1, "reason": "first' in entry
    card = weights.read_card(run.model_directory(params))
    assert tags == {
        "sr.weights_sha256": card.weights_sha256,
        "sr.data_digest": made.DATA_DIGEST,
        "sr.git_commit": "c" * 40,
        "sr.architecture": "edsr/small",
        "sr.scale": "4",
        "sr.degradation": "bicubic",
        "sr.run": card.run,
        "sr.run_id": version.run_id,
        "sr.protocol": "benchmark-y",
        "sr.precision": "float32",
        "sr.test_set": "sample",
        "sr.test_set_digest": "e" * 64,
        "sr.psnr": "28.0",
        "sr.ssim": "0.8",
        "sr.champion_decision": version.reason,
        "sr.lineage": f"lineage/{card.weights_sha256[:16]}.json",
    }


def test_the_report_and_the_model_stand_with_the_run_that_trained_it(params, client):
    run_dir = made.start_run(params)
    made.log_steps(run_dir, 0, made.STEPS)
    run_id = track.ship(run_dir, params.track)
    model_dir = made.write_model(params, 1, run=run_dir.name)
    for _ in range(2):
        version = registry.register(params, model_dir, made.write_report(params, 28.0))
    assert version.run_id == run_id
    files = {file.path for file in client.list_artifacts(run_id, "report")}
    assert files == {"report/report.json", "report/metrics.json", "report/comparison.png"}
    assert [point.value for point in client.get_metric_history(run_id, "report/psnr")] == [28.0]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_the_artefact_holds_weights_and_card_and_no_code(params, tmp_path):
    register(params, 1, 28.0)
    (model_file,) = tmp_path.rglob("MLmodel")
    data = {str(path.relative_to(model_file.parent)) for path in model_file.parent.rglob("*") if path.is_file()}
    described = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    examples = {"input_example.json", "serving_input_example.json"}
    assert data == described | examples | {"data/model/weights.safetensors", "data/model/card.json"}


def test_a_champion_without_figures_is_not_dethroned(params, client):
    register(params, 1, 28.0)
    client.delete_model_version_tag(NAME, "1", "sr.psnr")
    refused = register(params, 2, 29.0)
    assert not refused.champion
    assert refused.reason == "refused: champion version 1 has no figures"
    assert register(params, 1, 28.0).champion  # measured again it has


def test_a_deleted_champion_leaves_the_title_free(params, client):
    register(params, 1, 28.0)
    client.delete_model_version(NAME, "1")
    assert register(params, 2, 27.0).champion


def test_what_is_missing_is_said_in_one_sentence(params, tmp_path):
    with pytest.raises(SrError, match=r"card\.json: missing"):
        registry.register(params, tmp_path / "models", tmp_path / "reports")
    with pytest.raises(SrError, match=r"report\.json: cannot be read"):
        registry.register(params, made.write_model(params, 1), tmp_path / "reports")
    down = made.params(tmp_path, f"http://127.0.0.1:{made.free_port()}")
    with pytest.raises(TrackError, match="no MLflow server answers"):
        register(down, 1, 28.0)


LOAD = """
import sys
import mlflow, numpy
model = mlflow.pyfunc.load_model("models:/sr-edsr-x4-bicubic@champion")
numpy.save("sr.npy", model.predict(numpy.load("lr.npy")))
"""


def assert_loads_in_a_fresh_process(params, folder: Path, **environment: str) -> None:
    """Loads the champion and compares what it makes of two photographs with the published model's work."""
    photographs = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    np.save(folder / "lr.npy", photographs)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment = {**inherited, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", **environment}
    command = [sys.executable, "-W", "ignore", "-c", LOAD]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    network = weights.load_model(run.model_directory(params)).network
    assert np.array_equal(np.load(folder / "sr.npy"), [upscale(network, image) for image in photographs])


def test_the_champion_loads_in_a_fresh_process_in_the_project_folder(params, tmp_path):
    register(params, 1, 28.0)
    assert_loads_in_a_fresh_process(params, tmp_path)


def test_all_of_it_against_a_server(tmp_path, empty_store):
    shutil.copyfile(empty_store, tmp_path / "server.db")
    port = made.free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "artifacts"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    params = made.params(tmp_path, f"http://127.0.0.1:{port}")
    try:
        made.wait_until_healthy(params.track.uri, timeout_s=60)
        run_dir = made.start_run(params)
        with track.shipping(run_dir, params.track, every_s=0.05):
            made.log_steps(run_dir, 0, made.STEPS)
        model_dir = made.write_model(params, 1, run=run_dir.name)
        first = registry.register(params, model_dir, made.write_report(params, 28.0))
        assert (first.version, first.champion) == (1, True)
        assert registry.register(params, model_dir, made.write_report(params, 28.0)).version == 1
        client = mlflow.MlflowClient(params.track.uri)
        assert len(client.get_metric_history(first.run_id, "train/loss")) == made.STEPS // 10
        assert {file.path for file in client.list_artifacts(first.run_id, "report")} >= {"report/comparison.png"}
        assert_loads_in_a_fresh_process(params, tmp_path, MLFLOW_TRACKING_URI=params.track.uri)
        assert not register(params, 2, 27.0).champion
        shows_its_picture(params.track.uri, client)
        changes_hands(params.track.uri, client)
        has_a_lineage(params)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def shows_its_picture(uri, client):
    """The page's picture is a link that a browser resolves against MLflow's own address."""
    page = client.get_model_version(NAME, "1").description
    (link,) = re.findall(r"!\[[^]]*\]\((\S+)\)", page)
    with urllib.request.urlopen(f"{uri}/{link}", timeout=20) as answer:
        assert answer.read() == b"a picture"
    assert "| **version 1** | 28.0000 | 0.8000 |" in page
    assert "When it was last registered: it holds the title, with 28.0000 dB." in page


def changes_hands(uri, client):
    with pytest.raises(SrError, match="version 2 is not promoted, refused: not better"):
        promote.promote(f"models:/{NAME}@challenger", reason="x", uri=uri)
    client.set_model_version_tag(NAME, "2", "sr.psnr", "28.0")
    promote.promote(f"models:/{NAME}/2", reason="as good", uri=uri)
    assert aliases(client) == {"champion": 2}
    promote.rollback(NAME, reason="it rings", uri=uri)
    assert aliases(client) == {"champion": 1, "challenger": 2}
    assert not [key for key in client.get_registered_model(NAME).tags if key.startswith("sr.claim.")]


def has_a_lineage(params):
    """From a machine that has nothing but the server."""
    shutil.rmtree(params.data.root)
    links = {link.name: link for link in lineage.lineage(f"models:/{NAME}@champion", uri=params.track.uri)}
    assert not [check.text for link in links.values() for check in link.checks if check.holds is False]
    assert links["parameters"].facts["train.steps"] == str(made.STEPS)
    assert links["photographs"].facts["chelsea.png"].startswith("596aa1e7")


def starting(params, given):
    return registry.with_start(dataclasses.replace(params, train=dataclasses.replace(params.train, start=given)))


def test_a_run_may_begin_with_a_registered_version(params, client):
    first, second = register(params, 1, 28.0), register(params, 2, 28.5)
    root = Path(params.data.root)
    shutil.rmtree(root / "models")
    for given, version in ((f"models:/{NAME}@champion", second), (f"models:/{NAME}/1", first)):
        directory = root / "starts" / version.weights_sha256
        assert starting(params, given).train.start == str(directory)
        assert weights.load_model(directory).card.weights_sha256 == version.weights_sha256
    damaged = root / "starts" / first.weights_sha256 / weights.WEIGHTS
    damaged.write_bytes(b"damaged")
    starting(params, f"models:/{NAME}/1")
    assert weights.load_model(damaged.parent).card.weights_sha256 == first.weights_sha256
    client.delete_model_version(NAME, "2")
    assert starting(params, "edsr").train.start == "edsr"
    assert starting(params, None).train.start is None


def test_a_version_that_is_not_there_is_one_sentence(params):
    register(params, 1, 28.0)
    for called in ("sr-nothing/1", "sr-nothing@champion", f"{NAME}/7", f"{NAME}@best", NAME, ""):
        with pytest.raises(
            ConfigError, match=rf"^train\.start: models:/{called} is no version that was registered here"
        ):
            starting(params, f"models:/{called}")
