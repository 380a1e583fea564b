"""Interpolation against other writings of it, and as the skip of other networks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sr_core.data.resize import resize_matrix
from sr_core.models import build

SCALES = (2, 3, 4, 8)


def enlarged(name, scale, x):
    return build(name, scale=scale, preset="small", options={})(x)


def lanczos_by_definition(row, scale):
    """One row, tap by tap: sinc(x) sinc(x / 3) for |x| < 3, a mirrored border, weights that sum up to 1."""
    mirrored = np.concatenate([row[::-1], row, row[::-1]])
    out = []
    for i in range(scale * len(row)):
        centre = (i + 0.5) / scale - 0.5
        taps = [k for k in range(-len(row), 2 * len(row)) if abs(centre - k) < 3]
        weights = [np.sinc(centre - k) * np.sinc((centre - k) / 3) for k in taps]
        out.append(sum(w * mirrored[k + len(row)] for w, k in zip(weights, taps, strict=True)) / sum(weights))
    return np.array(out)


@pytest.mark.parametrize("scale", SCALES)
def test_each_equals_another_writing_of_it(scale):
    x = torch.rand(2, 3, 9, 13, generator=torch.manual_seed(0)) * 255
    close = {"rtol": 0, "atol": 1e-3}
    torch.testing.assert_close(enlarged("nearest", scale, x), functional.interpolate(x, scale_factor=scale), **close)
    bilinear = functional.interpolate(x, scale_factor=scale, mode="bilinear")
    torch.testing.assert_close(enlarged("bilinear", scale, x), bilinear, **close)
    rows, columns = (torch.from_numpy(resize_matrix(n, n * scale)).float() for n in (9, 13))
    torch.testing.assert_close(enlarged("bicubic", scale, x), rows @ x @ columns.T, **close)
    row = x[0, 0, 0].numpy().astype(np.float64)
    expected = torch.from_numpy(lanczos_by_definition(row, scale)).float()
    torch.testing.assert_close(enlarged("lanczos", scale, x[:, :, :1])[0, 0, 0], expected, **close)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_flat_image_stays_flat_to_its_border_and_an_image_of_one_pixel_too(name, scale):
    for side in (1, 2, 5):
        torch.testing.assert_close(
            enlarged(name, scale, torch.full((1, 3, side, side), 200.0)),
            torch.full((1, 3, side * scale, side * scale), 200.0),
        )


@pytest.mark.parametrize("name", ["srcnn", "edsr", "srresnet", "rrdb"])
def test_a_network_with_a_bicubic_skip_adds_to_bicubic_interpolation(name):
    network = build(name, scale=4, preset="small", options={"global_skip": "bicubic"}).eval()
    x = torch.rand(1, 3, 8, 8) * 255
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(network(x), enlarged("bicubic", 4, x))


def test_a_traced_network_leaves_nothing_behind():
    network, x = build("bicubic", scale=2, preset="small", options={}), torch.rand(1, 3, 13, 17)
    program = torch.export.export(network, (x,))
    torch.testing.assert_close(program.module()(x), network(x))
    assert type(network(x)) is torch.Tensor
