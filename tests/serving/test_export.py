"""Networks as ONNX and as files of torch.export: the same numbers at any size."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from serving import export
from serving.plain import plain
from sr_core import models
from sr_core.models.card import Card
from sr_core.train import weights

ONE_SCALE = {  # each in turn, so that all are seen; the slow test has every network at every scale
    "nearest": 3,
    "bilinear": 8,
    "bicubic": 2,
    "lanczos": 4,
    "srcnn": 3,
    "edsr": 8,
    "wdsr_a": 2,
    "wdsr_b": 3,
    "srresnet": 4,
    "rrdb": 2,
    "srgan": 2,
    "esrgan": 3,
}


def saved(folder, name, scale, preset="small", **options):
    """A model directory with random weights that all count: also those that begin at zero."""
    torch.manual_seed(0)
    network = models.build(name, scale=scale, preset=preset, options=options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-3)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.2)
    card = Card(model=name, preset=preset, options=options, scale=scale)
    weights.save_model(folder / f"{name}-x{scale}", network.state_dict(), card, {})
    return folder / f"{name}-x{scale}"


def given(folder, name, scale, preset="small"):
    return str(saved(folder, name, scale, preset)) if models.MODELS[name].is_trainable else name


def test_every_network_is_tested():
    assert set(ONE_SCALE) == set(models.MODELS)


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_plain_network_is_the_same_function(name, scale):
    if scale not in models.MODELS[name].scales:
        return
    torch.manual_seed(0)
    network = models.build(name, scale=scale, preset="small", options={}).eval().requires_grad_(False)
    for image in export.images():
        torch.testing.assert_close(plain(network)(image), network(image), rtol=0, atol=1e-3)


def check_onnx(path, directory, name, scale):
    """What a user without this project sees in the file."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", export.OPSET)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    network = weights.open_model(directory, scale).network
    with torch.inference_mode():
        for image in export.images():
            (out,) = session.run(None, {"image": image.numpy()})
            assert np.abs(out - network(image).numpy()).max() / 255 <= 1e-4, (name, scale, image.shape)


@pytest.mark.parametrize(("name", "scale"), ONE_SCALE.items())
def test_onnxruntime_gives_pytorchs_numbers(tmp_path, name, scale):
    model = given(tmp_path, name, scale)
    made = export.export_onnx(model, tmp_path / "x.onnx", scale=scale)
    assert made.difference <= export.TOLERANCE
    check_onnx(tmp_path / "x.onnx", model, name, scale)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), [(name, s) for name, e in models.MODELS.items() for s in e.scales])
def test_so_it_is_at_every_scale(tmp_path, name, scale):
    model = given(tmp_path, name, scale)
    export.export_onnx(model, tmp_path / "x.onnx", scale=scale)
    check_onnx(tmp_path / "x.onnx", model, name, scale)
