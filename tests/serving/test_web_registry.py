"""The page's models from a real registry, asked in a process of its own; and a registry that is away."""

from pathlib import Path

import made
import numpy as np
import pytest

from serving.web import choices
from serving.web.catalogue import Catalogue
from serving.web.limits import Limits
from serving.web.registry import registered
from serving.web.work import Workshop
from sr_core.data.images import write_png
from sr_core.data.pictures import encode_picture, read_picture
from sr_core.errors import TrackError
from sr_core.train import weights
from sr_core.upscale import settings_of, upscale_picture

# MLflow's and SQLAlchemy's own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::DeprecationWarning:sqlalchemy")

NAME = "sr-edsr-x4-bicubic"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Parameters of a folder whose store has two versions, the first of which is champion."""
    return made.registered(tmp_path_factory.mktemp("project"), (1, 28.0), (0, 27.0))


def test_a_registered_version_is_listed_and_enlarges_as_its_copy_does(project, tmp_path, monkeypatch):
    monkeypatch.setenv("SR_MODEL_CACHE", str(tmp_path / "cache"))
    catalogue = Catalogue(tmp_path, project.track.uri)
    catalogue.refresh()
    catalogue.wait()
    named = catalogue.models()[0]
    assert named.name == NAME
    assert [version.label for version in named.versions] == ["champion (version 1)", "challenger (version 2)"]
    assert catalogue.note().endswith("has 2 versions to choose from.")

    photo = tmp_path / "a.png"
    write_png(photo, made_photograph())
    # the newest model lies in data/models too: version 2
    version, said = choices.find(catalogue.models(), NAME, "challenger (version 2)"), []
    outcome = Workshop(Limits(), catalogue.uri).enlarge(photo, version, tmp_path / "out", say=said.append)
    loaded = weights.load_model(Path(project.data.root) / "models" / project.task)
    expected = upscale_picture(loaded.network, read_picture(photo), settings_of(loaded.card))
    assert outcome.result.read_bytes() == encode_picture(expected, "png")
    assert said[0] == f"Loading models:/{NAME}/2 …"


def made_photograph():
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)


def test_a_registry_that_is_away_is_a_sentence():
    with pytest.raises(TrackError, match=r"no MLflow server answers at http://127\.0\.0\.1:9 within 2 s"):
        registered("http://127.0.0.1:9")
