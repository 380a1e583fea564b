"""The chain from a registered version to its photographs and its commit, and what of it is found not to be so."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import made
import mlflow
import numpy as np
import pytest
from PIL import Image

from flows import lineage, origin, registry
from flows.cli import main as sr
from sr_core import files
from sr_core.data import shards
from sr_core.errors import ConfigError, SrError, TrackError
from sr_core.progress import QUIET
from sr_core.train import weights
from sr_core.train.run import git_commit

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")

NAME = "sr-edsr-x4-bicubic"
GIVEN = f"models:/{NAME}@champion"


def write_model(params, **changes) -> Path:
    """A published model whose card says `changes`."""
    directory = made.write_model(params)
    card = dataclasses.replace(weights.read_card(directory), **changes)
    files.write_atomic(directory / weights.CARD, files.to_json(dataclasses.asdict(card)))
    return directory


def with_folder(params, root: Path):
    """`params` on two photographs of a folder, with the shards of them built."""
    folder = root / "mine"
    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    data = dataclasses.replace(params.data, source="folder", folder=str(folder), crop=8, num_writers=1)
    shards.build(data, progress=QUIET)
    return dataclasses.replace(params, data=data)


def register(params, **changes):
    return registry.register(params, write_model(params, **changes), made.write_report(params, 28.0))


def chain(uri):
    return {link.name: link for link in lineage.lineage(GIVEN, uri=uri)}


def told(link) -> dict[str, bool | None]:
    return {check.text: check.holds for check in link.checks}


@pytest.fixture
def own(tracked, tmp_path):
    """Parameters of a model that is registered, trained on a folder by a commit of this repository."""
    params = with_folder(tracked, tmp_path)
    commit = (git_commit() or "c" * 40).removesuffix("-dirty")
    digest = shards.build(params.data, progress=QUIET).digest
    register(params, data_digest=digest, git_commit=commit, params_digest=params.digest())
    return params


def test_every_link_is_there_and_holds(own, capsys):
    found = chain(own.track.uri)
    assert list(found) == ["version", "run", "parameters", "data", "photographs", "code"]
    not_so = [check for link in found.values() for check in link.checks if check.holds is False]
    assert not not_so
    card = weights.read_card(Path(own.data.root) / "models" / own.task)
    assert found["version"].facts["weights"] == card.weights_sha256
    assert found["run"].facts["name"] == card.run
    facts = found["parameters"].facts
    assert (facts["data.source"], facts["train.steps"], facts["digest"]) == ("folder", "40", own.digest())
    assert "train.lr" not in facts  # as by default
    assert found["data"].facts["digest"] == card.data_digest
    assert {"index train/hr", "index valid/bicubic"} <= found["data"].facts.keys()
    assert found["data"].facts["photographs"] == "1 for train, 1 for valid"
    assert told(found["data"])["the shards that lie here are of this version, by their indexes"]
    assert found["photographs"].facts["folder"] == own.data.folder
    assert len(found["photographs"].facts["digest train"]) == 64
    assert sr(["lineage", GIVEN, "--uri", own.track.uri]) == 0
    text = capsys.readouterr().out
    assert f"    commit  {card.git_commit}\n" in text
    assert "  + the artefact's weights have the sha256 of the tag and of the card\n" in text
    assert "  ? DVC had no hash of these shards\n" in text
    assert sr(["lineage", GIVEN, "--uri", own.track.uri, "--json"]) == 0
    links = json.loads(capsys.readouterr().out)
    assert [link["name"] for link in links] == list(found)


def test_another_machine_has_all_of_it_from_mlflow(own, tmp_path, monkeypatch):
    here = chain(own.track.uri)
    shutil.rmtree(own.data.root)
    shutil.rmtree(tmp_path / "mine")
    (tmp_path / "elsewhere").mkdir()
    there = chain(own.track.uri)
    assert {name: link.facts for name, link in there.items()} == {name: link.facts for name, link in here.items()}
    assert told(there["data"])[f"shards of this version are not here, in {own.data.root}/shards"] is None
    assert told(there["data"])["the digests of its indexes give its digest"]


def artefact(tmp_path, name) -> Path:
    (path,) = (path for path in tmp_path.glob(f"mlruns/**/{name}"))
    return path


def test_weights_that_were_exchanged_are_found(own, tmp_path, capsys):
    path = artefact(tmp_path, weights.WEIGHTS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (check,) = chain(own.track.uri)["version"].checks
    assert not check.holds
    assert "the artefact was changed" in check.text
    assert sr(["lineage", GIVEN, "--uri", own.track.uri]) == 1
    assert "  - models:/" in capsys.readouterr().out


def test_what_was_changed_in_the_registry_is_found(own):
    client = mlflow.MlflowClient(own.track.uri)
    client.set_model_version_tag(NAME, "1", "sr.data_digest", "f" * 64)
    client.set_model_version_tag(NAME, "1", "sr.git_commit", "c" * 40 + "-dirty")
    found = chain(own.track.uri)
    assert any(holds is False and "sr.data_digest is fff" in text for text, holds in told(found["version"]).items())
    assert told(found["data"])["the digests of its indexes give its digest"] is False
    assert set(told(found["code"]).values()) == {None}  # not in this repository, and dirty
    client.delete_run(client.get_model_version(NAME, "1").run_id)
    assert client.get_run(client.get_model_version(NAME, "1").run_id).info.lifecycle_stage == "deleted"


def test_a_record_that_is_damaged_or_absent_is_said(own, tmp_path):
    path = artefact(tmp_path, "lineage/*.json")
    path.write_text("{")
    found = chain(own.track.uri)
    assert "cannot be read: the record of the origin is damaged" in found["data"].checks[0].text
    # the run's own parameters do as well
    assert told(found["parameters"])[
        f"by the run's parameters in MLflow their digest is that of the card, {own.digest()[:12]}"
    ]
    mlflow.MlflowClient(own.track.uri).delete_model_version_tag(NAME, "1", origin.TAG)
    found = chain(own.track.uri)
    assert "registered by an earlier version" in found["photographs"].checks[0].text


def test_registered_again_without_its_shards_it_keeps_its_record(own):
    before = chain(own.track.uri)["data"].facts
    shutil.rmtree(Path(own.data.root) / "shards")
    directory = Path(own.data.root) / "models" / own.task
    registry.register(own, directory, made.write_report(own, 28.0))
    assert chain(own.track.uri)["data"].facts == before


def test_the_sample_is_compared_with_its_table(tracked):
    register(tracked)
    found = chain(tracked.track.uri)
    assert found["photographs"].facts["chelsea.png"].startswith("596aa1e7")
    assert told(found["photographs"]) == {
        "these are the published ones, by sha256": True,
        "9 of 9 files are on this machine, with that sha256": True,
    }


def test_archives_are_named_with_their_sha256(tracked, tmp_path):
    (tmp_path / "zips").mkdir()
    (tmp_path / "zips" / "DIV2K_valid_HR.zip").write_bytes(b"another file")
    data = dataclasses.replace(tracked.data, source="div2k", archives=str(tmp_path / "zips"))
    params = dataclasses.replace(tracked, data=data)
    register(params, params_digest=params.digest())
    link = chain(params.track.uri)["photographs"]
    assert link.facts["DIV2K_valid_LR_bicubic_X4.zip"].startswith("a50a5d1c")
    assert len(link.facts) == 4
    assert told(link) == {
        "these are the published ones, by sha256": True,
        "on this machine other files are called DIV2K_valid_HR.zip": False,
    }


def test_what_is_not_there_is_one_sentence(tracked, tmp_path):
    for given in (GIVEN, f"models:/{NAME}/1", "nothing"):
        with pytest.raises(ConfigError, match=r"there is no such version; expected such as models:/"):
            lineage.lineage(given, uri=tracked.track.uri)
    with pytest.raises(TrackError, match="no MLflow server answers"):
        lineage.lineage(GIVEN, uri=f"http://127.0.0.1:{made.free_port()}")
    with pytest.raises(SrError, match="the record of the origin is damaged"):
        origin.read('{"version": 2}')


def test_a_commit_is_looked_for_in_this_repository():
    here = Path(lineage.__file__).parent
    head = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        pytest.skip("no git repository")
    assert lineage._code(head.stdout.strip()).checks[0].holds
    assert lineage._code("c" * 40).checks[0].holds is None
    assert lineage._code("unknown").checks[0].holds is None
