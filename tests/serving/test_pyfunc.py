"""A model directory as MLflow's loader opens it."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from serving.pyfunc import _load_pyfunc
from sr_core import models
from sr_core.errors import CheckpointError, ConfigError, ImageError
from sr_core.models.card import Card
from sr_core.train import weights
from sr_core.upscale import upscale_picture

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


def test_an_array_that_lies_in_memory_has_no_limit(model_dir, monkeypatch):
    monkeypatch.setenv("SR_SERVE_MAX_PIXELS", "50")
    limited = _load_pyfunc(str(model_dir))
    assert limited.predict(photographs(2, 7, 9, 3)).shape == (2, 21, 27, 3)
    as_json = photographs(1, 7, 9, 3).astype(object)
    with pytest.raises(ImageError, match=r"have 63 pixels, above the limit of 50; send fewer .* SR_SERVE_MAX_PIXELS"):
        limited.predict({"image": as_json})


@pytest.mark.parametrize("name", ["SR_SERVE_MAX_PIXELS", "SR_SERVE_MAX_BYTES"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "1e6", ""])
def test_a_limit_that_is_no_number_is_refused_when_the_model_is_loaded(model_dir, name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^{name}: is '{value}', expected a whole number above 0"):
        _load_pyfunc(str(model_dir))


def test_calls_from_many_threads_wait_for_each_other(model, monkeypatch):
    inside, most = [0], [0]

    def counted(*args, **kwargs):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        inside[0] -= 1
        return upscale_picture(*args, **kwargs)

    monkeypatch.setattr("serving.pyfunc.upscale_picture", counted)
    with ThreadPoolExecutor(4) as pool:
        shapes = [result.shape for result in pool.map(model.predict, [photographs(1, 7, 9, 3)] * 8)]
    assert (most, set(shapes)) == ([1], {(1, 21, 27, 3)})


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
