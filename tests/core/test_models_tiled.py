"""Every kind of network gives the same pixels tile by tile as at once: the receptive field it declares is enough."""

import numpy as np
import pytest
import torch

from sr_core.models import MODELS, build
from sr_core.upscale import halves as prepared
from sr_core.upscale import upscale_float

CLOSE = 1e-4 * 255
FEW = {"num_features1": 6, "num_features2": 4}
CASES = [
    ("srcnn", "9-5-5", FEW),
    ("srcnn", "9-1-5", FEW | {"num_colours": 1}),
    ("srcnn", "small", FEW),
    ("edsr", "small", {"num_features": 8, "num_blocks": 2}),
    ("edsr", "small", {"num_features": 8, "num_blocks": 2, "global_skip": "bicubic"}),
    ("wdsr_a", "small", {"num_features": 8, "num_blocks": 2}),
    ("wdsr_b", "small", {"num_features": 8, "num_blocks": 2, "weight_norm": False}),
    ("wdsr_b", "small", {"num_features": 8, "num_blocks": 1, "normalisation": "half"}),
    ("srresnet", "paper", {"num_features": 8, "num_blocks": 1}),
    ("rrdb", "small", {"num_features": 4, "num_growth": 2, "num_blocks": 1}),
    ("lanczos", "small", {}),
    ("nearest", "small", {}),
]
TRAINED_SIZES = [
    ("srcnn", "9-5-5"),
    ("edsr", "baseline"),
    ("wdsr_a", "baseline"),
    ("wdsr_b", "baseline"),
    ("srresnet", "paper"),
    ("rrdb", "lite"),
]


def loud(name, scale, preset, options, gain=1.5):
    """An untrained network whose far neighbours matter: the first weights all but cut them off."""
    torch.manual_seed(scale)
    network = build(name, scale=scale, preset=preset, options=options)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=gain / parameter[0].numel() ** 0.5 if parameter.dim() == 4 else 0.1)
        for norm in norms:
            norm.weight.fill_(0.9)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
    return network.eval()


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def untiled(network, image):
    with torch.inference_mode():
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        return network(batch)[0].permute(1, 2, 0).numpy()


def allowed(expected):
    return CLOSE * max(np.abs(expected).max() / 255, 1)


@pytest.mark.parametrize(("name", "preset", "options"), CASES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_tiled_equals_untiled(name, preset, options, scale):
    if scale not in MODELS[name].scales:
        pytest.skip("not for this scale")
    network, image = loud(name, scale, preset, options), noise(31, 23)
    expected = untiled(network, image)
    for tile in (12, 7):
        tiled = upscale_float(network, image, tile=tile, precision="float32")
        assert np.abs(tiled - expected).max() <= allowed(expected)


@pytest.mark.parametrize(("name", "preset"), TRAINED_SIZES)
def test_tiled_equals_untiled_at_the_sizes_that_are_trained(name, preset):
    network, image = loud(name, 4, preset, {}, gain=0.5), noise(16, 80)
    network.tile_overlap = network.receptive_field
    expected = untiled(network, image)
    tiled = upscale_float(network, image, tile=16, precision="float32")
    assert np.abs(tiled - expected).max() <= allowed(expected)


@pytest.mark.parametrize(("name", "preset", "options"), [*CASES[:9], CASES[-2]])  # of RRDB see test_models_gan.py
def test_a_pixel_of_context_too_few_would_be_seen(name, preset, options):
    network, image = loud(name, 4, preset, options), noise(31, 23)
    whole = upscale_float(network, image, precision="float32")
    network.receptive_field -= 1
    network.tile_overlap = network.receptive_field
    tiled = upscale_float(network, image, tile=8, precision="float32")
    assert np.abs(tiled - whole).max() > allowed(whole)


@pytest.mark.parametrize(("name", "preset", "options"), CASES[3:-2])
def test_a_pixel_too_few_for_decoding_would_be_seen(name, preset, options, monkeypatch):
    monkeypatch.setattr(prepared, "decode_side", lambda *_: 5)
    network, image = loud(name, 4, preset, options), noise(31, 23)
    whole = untiled(network, image)
    assert np.abs(upscale_float(network, image, precision="float32") - whole).max() <= allowed(whole)
    network.decode_reach -= 1
    assert np.abs(upscale_float(network, image, precision="float32") - whole).max() > allowed(whole)


@pytest.mark.parametrize("skip", ["none", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_composed_tail_is_the_tail_but_at_the_edge(scale, skip):
    network = loud("edsr", scale, "small", {"num_features": 6, "num_blocks": 1, "global_skip": skip})
    x, features = 255 * torch.rand(1, 3, 9, 11), 100 * torch.randn(1, 6, 9, 11)
    with torch.inference_mode():
        expected = network.decode(features, x)
        off = (network.inner_decoder()(features, x) - expected).abs()
    edge = network.decode_reach * scale
    assert off[..., edge:-edge, edge:-edge].max() <= allowed(expected.numpy())
    for line in (off[..., edge - 1, :], off[..., -edge, :], off[..., edge - 1], off[..., -edge]):
        assert line.max() > allowed(expected.numpy())


def test_the_first_weights_of_rrdb_need_less_than_its_overlap():
    torch.manual_seed(0)
    network, image = build("rrdb", scale=4, preset="lite", options={}).eval(), noise(8, 130)
    assert network.tile_overlap == 48 < network.receptive_field
    whole = untiled(network, image)
    tiled = upscale_float(network, image, tile=16, precision="float32")
    assert np.abs(tiled - whole).max() < 0.1 * np.abs(whole).max() / 255


@pytest.mark.parametrize("name", ["edsr", "wdsr_a", "wdsr_b", "srresnet", "rrdb"])
def test_the_network_is_left_as_it_was(name):
    options = {"num_features": 8, "num_blocks": 1}
    network = loud(name, 2, "small", options).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for precision in ("bf16", "float32"):
        upscale_float(network, noise(9, 9), precision=precision)
    after = network.state_dict()
    assert all(torch.equal(after[key], value) and after[key].dtype == value.dtype for key, value in before.items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    network(torch.rand(1, 3, 9, 9)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
