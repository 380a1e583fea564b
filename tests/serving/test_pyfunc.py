"""A model directory as MLflow's loader opens it."""

import numpy as np
import pytest
import torch

from serving.pyfunc import _load_pyfunc
from sr_core import models
from sr_core.errors import CheckpointError, ImageError
from sr_core.models.card import Card
from sr_core.train import weights

SCALE = 3
OPTIONS = {"num_blocks": 1, "num_features": 4}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    torch.manual_seed(0)
    network = models.build("edsr", scale=SCALE, preset="small", options=OPTIONS)
    card = Card(
        model="edsr",
        preset="small",
        options=OPTIONS,
        scale=SCALE,
        degradation="bicubic",
        dataset="sample",
        data_digest="d" * 64,
        params_digest="p" * 64,
        run="edsr-x3-bicubic-00000000",
        step=1,
        git_commit=None,
        protocol="benchmark-y",
        valid_psnr=None,
    )
    directory = tmp_path_factory.mktemp("models") / "edsr-x3-bicubic"
    weights.save_model(directory, network.state_dict(), card, {})
    return directory


@pytest.fixture(scope="module")
def model(model_dir):
    return _load_pyfunc(str(model_dir))


def photographs(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_photographs_come_back_larger(model):
    out = model.predict(photographs(2, 7, 9, 3))
    assert out.dtype == np.uint8
    assert out.shape == (2, 21, 27, 3)


def test_one_photograph_is_what_it_is_among_others(model):
    several = photographs(2, 7, 9, 3)
    assert np.array_equal(model.predict(several[1]), model.predict(several)[1])
    assert np.array_equal(model.predict(several, params={}), model.predict(several))


@pytest.mark.parametrize(
    "wrong",
    [
        photographs(2, 7, 9, 3) / np.float32(255),
        photographs(2, 7, 9, 3).astype(np.int64),
        photographs(2, 7, 9, 4),
        photographs(7, 9),
        photographs(0, 7, 9, 3),
        [1, 2],
    ],
    ids=["float", "int64", "transparent", "grey", "none", "list"],
)
def test_what_is_no_uint8_photograph_is_refused_in_a_sentence(model, wrong):
    with pytest.raises(ImageError, match=r"^the photographs are .* expected uint8 RGB of shape"):
        model.predict(wrong)


def test_damaged_weights_are_not_loaded(model_dir, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in model_dir.iterdir():
        content = bytearray(file.read_bytes())
        if file.name == weights.WEIGHTS:
            content[-1] ^= 1
        (damaged / file.name).write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        _load_pyfunc(str(damaged))
