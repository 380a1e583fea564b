"""Every kind of network gives the same pixels tile by tile as at once: the receptive field it declares is enough."""

import numpy as np
import pytest
import torch

from sr_core.models import build
from sr_core.upscale import upscale_float

CLOSE = 1e-4 * 255
FEW = {"num_features1": 6, "num_features2": 4}
CASES = [
    ("srcnn", "9-5-5", FEW),
    ("srcnn", "9-1-5", FEW | {"num_colours": 1}),
    ("srcnn", "small", FEW),
    ("edsr", "small", {"num_features": 8, "num_blocks": 2, "global_skip": "bicubic"}),
    ("wdsr_a", "small", {"num_features": 8, "num_blocks": 2}),
    ("wdsr_b", "small", {"num_features": 8, "num_blocks": 2, "weight_norm": False}),
    ("wdsr_b", "small", {"num_features": 8, "num_blocks": 1, "normalisation": "half"}),
    ("lanczos", "small", {}),
    ("nearest", "small", {}),
]


def loud(name, scale, preset, options):
    """An untrained network whose far neighbours matter: the first weights all but cut them off."""
    torch.manual_seed(scale)
    network = build(name, scale=scale, preset=preset, options=options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=1.5 / parameter[0].numel() ** 0.5 if parameter.dim() == 4 else 0.1)
    return network.eval()


@pytest.mark.parametrize(("name", "preset", "options"), CASES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_tiled_equals_untiled(name, preset, options, scale):
    network = loud(name, scale, preset, options)
    image = np.random.default_rng(0).integers(0, 256, (31, 23, 3), dtype=np.uint8)
    with torch.inference_mode():
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        expected = network(batch)[0].permute(1, 2, 0).numpy()
    for tile in (12, 7):
        tiled = upscale_float(network, image, tile=tile, precision="float32")
        assert np.abs(tiled - expected).max() <= CLOSE * max(np.abs(expected).max() / 255, 1)


@pytest.mark.parametrize(("name", "preset", "options"), CASES[:-1])
def test_a_pixel_of_context_too_few_would_be_seen(name, preset, options):
    network = loud(name, 4, preset, options)
    image = np.random.default_rng(0).integers(0, 256, (31, 23, 3), dtype=np.uint8)
    whole = upscale_float(network, image, precision="float32")
    network.receptive_field -= 1
    tiled = upscale_float(network, image, tile=12, precision="float32")
    assert np.abs(tiled - whole).max() > CLOSE * max(np.abs(whole).max() / 255, 1)
