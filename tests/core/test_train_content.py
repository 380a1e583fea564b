"""Where VGG-19's weights come from, and what is said where they cannot be had."""

import dataclasses
import hashlib
import io
from pathlib import Path

import pytest
import torch
from adversaries import params_of
from faulty_server import cut, served, status
from training import go, made_against

from sr_core.errors import CheckpointError, ConfigError, SourceError
from sr_core.models.vgg import VggFeatures
from sr_core.progress import QUIET
from sr_core.train.content import VGG_URL, extractor, vgg_file

CPU = torch.device("cpu")
BOTH_WAYS = r"set adversarial\.vgg_weights to the path of .*, or adversarial\.content to pixel or none"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def weights():
    """Made-up ones, of as many layers as vgg22 needs."""
    generator = torch.Generator().manual_seed(0)
    own = VggFeatures("vgg22").state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in own.items()}


@pytest.fixture(scope="module")
def content(weights):
    """The bytes of a file that holds them, and what belongs to a classifier."""
    buffer = io.BytesIO()
    torch.save({**weights, "classifier.0.bias": torch.zeros(4096)}, buffer)
    return buffer.getvalue()


@pytest.fixture
def server(content):
    with served() as running:
        running.files[name_of(content)] = content
        yield running


def name_of(content):
    return f"vgg19-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def params_at(root, **adversarial):
    params = params_of("vanilla", content="vgg22", **adversarial)
    return dataclasses.replace(params, data=dataclasses.replace(params.data, root=str(root)))


def test_the_file_is_fetched_once_and_holds_what_the_features_need(server, content, weights, tmp_path):
    url = server.url(name_of(content))
    for _ in range(2):
        network = extractor(params_at(tmp_path), CPU, QUIET, url=url)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert len(server.requests) == 1
    assert (tmp_path / "weights" / name_of(content)).read_bytes() == content


def test_a_fetch_that_was_cut_goes_on_where_it_stopped(server, content, tmp_path):
    server.faults = [cut(0.5), status(404)]
    url = server.url(name_of(content))
    with pytest.raises(SourceError, match=BOTH_WAYS):
        vgg_file(params_at(tmp_path), QUIET, url=url)
    assert vgg_file(params_at(tmp_path), QUIET, url=url).read_bytes() == content
    assert server.ranges()[-1].startswith(f"bytes={len(content) // 2}-")


def test_a_file_of_another_digest_is_refused(server, content, tmp_path):
    server.files["vgg19-dcbb9e9d.pth"] = content
    with pytest.raises(SourceError, match=rf"{BOTH_WAYS}[\s\S]*has sha256 [0-9a-f]+, expected dcbb9e9d"):
        vgg_file(params_at(tmp_path), QUIET, url=server.url("vgg19-dcbb9e9d.pth"))
    assert not (tmp_path / "weights" / "vgg19-dcbb9e9d.pth").exists()


def test_the_digits_are_those_of_torchvisions_file():
    assert VGG_URL == "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"


def test_a_local_file_is_used_as_it_is(content, weights, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(content)
    network = extractor(params_at(tmp_path, vgg_weights=str(path)), CPU, QUIET, url="http://127.0.0.1:1/none")
    assert torch.equal(network.state_dict()["features.0.weight"], weights["features.0.weight"])
    assert not (tmp_path / "weights").exists()


def test_a_local_file_that_is_not_there_names_both_ways(tmp_path):
    with pytest.raises(ConfigError, match=rf"adversarial\.vgg_weights: .*mine\.pth is no file; {BOTH_WAYS}"):
        extractor(params_at(tmp_path, vgg_weights=str(tmp_path / "mine.pth")), CPU, QUIET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("features.5.bias"), r"features\.5\.bias is absent, expected shape \(128,\)"),
        (lambda weights: weights.update({"features.0.bias": torch.zeros(3)}), r"features\.0\.bias is \(3,\), expected"),
        (lambda weights: weights["features.2.bias"].fill_(float("nan")), r"features\.2\.bias holds NaN or infinity"),
    ],
)
def test_a_local_file_of_something_else_is_named(weights, tmp_path, change, message):
    changed = {name: tensor.clone() for name, tensor in weights.items()}
    change(changed)
    torch.save(changed, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=rf"mine\.pth: .*{message}"):
        extractor(params_at(tmp_path, vgg_weights=str(tmp_path / "mine.pth")), CPU, QUIET)


def test_a_truncated_file_is_named(content, tmp_path):
    (tmp_path / "mine.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"mine\.pth"):
        extractor(params_at(tmp_path, vgg_weights=str(tmp_path / "mine.pth")), CPU, QUIET)


class Surprise:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("surprise"),))


def test_a_pickle_that_runs_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Surprise()}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"mine\.pth"):
        extractor(params_at(tmp_path, vgg_weights=str(tmp_path / "mine.pth")), CPU, QUIET)
    assert not (tmp_path / "surprise").exists()


@pytest.mark.parametrize("fields", [{"content": "none"}, {"content_weight": 0.0}])
def test_without_a_content_loss_nothing_is_needed(tmp_path, fields):
    params = params_at(tmp_path)
    params = dataclasses.replace(params, adversarial=dataclasses.replace(params.adversarial, **fields))
    assert extractor(params, CPU, QUIET, url="http://127.0.0.1:1/none") is None


def test_pixels_are_their_own_features(tmp_path):
    params = params_at(tmp_path)
    params = dataclasses.replace(params, adversarial=dataclasses.replace(params.adversarial, content="pixel"))
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(extractor(params, CPU, QUIET, url="http://127.0.0.1:1/none")(x), x)


def test_regression_needs_none(tmp_path):
    assert extractor(params_of("none"), CPU, QUIET, url="http://127.0.0.1:1/none") is None


def test_a_run_begins_no_work_without_the_weights(tmp_path):
    missing = str(tmp_path / "mine.pth")
    params, dataset = made_against(tmp_path / "data", content="vgg54", vgg_weights=missing)
    with pytest.raises(ConfigError, match=BOTH_WAYS):
        go(params, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_trains_with_vggs_features(weights, tmp_path):
    torch.save(weights, tmp_path / "mine.pth")
    mine = str(tmp_path / "mine.pth")
    params, dataset = made_against(tmp_path / "data", content="vgg22", vgg_weights=mine)
    params = dataclasses.replace(params, train=dataclasses.replace(params.train, steps=2))
    assert go(params, dataset, tmp_path / "run").step == 2
