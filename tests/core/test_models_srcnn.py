"""SRCNN against a plain one of torch's own layers, and what it does with colours."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sr_core.models import build
from sr_core.models.interpolation import Bicubic


def srcnn(scale=3, preset="9-5-5", **options):
    """Weights that pass something on: the paper's are all but zero."""
    torch.manual_seed(0)
    network = build("srcnn", scale=scale, preset=preset, options=options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5 / parameter[0].numel() ** 0.5 if parameter.dim() == 4 else 0.1)
    return network


def plain(network, image):
    """The paper's formulas on an enlarged `image` in 0..1."""
    convolutions = (network.conv1, network.conv2, network.conv3)
    for conv in convolutions:
        image = functional.conv2d(image, conv.weight, conv.bias, padding=conv.weight.shape[-1] // 2)
        image = image if conv is convolutions[-1] else image.relu()
    return image


@pytest.mark.parametrize("preset", ["small", "9-1-5", "9-3-5", "9-5-5"])
def test_rgb_is_three_convolutions_of_the_enlarged_image(preset):
    network, x = srcnn(preset=preset), torch.rand(2, 3, 7, 9) * 255
    enlarged = Bicubic(3)(x)
    expected = 255 * plain(network, enlarged / 255) + (enlarged if preset == "small" else 0)
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("skip", ["none", "bicubic"])
def test_luma_alone_leaves_chroma_to_bicubic_interpolation(skip):
    network, x = srcnn(num_colours=1, global_skip=skip), torch.rand(1, 3, 6, 5) * 255
    to_ycc = torch.tensor(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=torch.float64
    )
    offset = torch.tensor([16.0, 128.0, 128.0], dtype=torch.float64).view(3, 1, 1)
    before = torch.einsum("yc,bchw->byhw", to_ycc, Bicubic(3)(x).double() / 255) + offset
    after = torch.einsum("yc,bchw->byhw", to_ycc, network(x).double() / 255) + offset
    luma = before[:, :1].float() / 255
    expected = 255 * (plain(network, luma) + (luma if skip == "bicubic" else 0))
    torch.testing.assert_close(after[:, :1].float(), expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(after[:, 1:], before[:, 1:], rtol=1e-5, atol=1e-3)


def test_the_papers_weights_are_gaussian_and_a_skip_starts_as_bicubic_interpolation():
    torch.manual_seed(0)
    network = build("srcnn", scale=2, preset="9-5-5", options={})
    for name, parameter in network.named_parameters():
        expected = 1e-3 if name.endswith("weight") else 0.0
        assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.05), name
    skipping, x = build("srcnn", scale=2, preset="small", options={}), torch.rand(1, 3, 8, 8) * 255
    torch.testing.assert_close(skipping(x), Bicubic(2)(x))
    assert float(skipping.conv1.weight.detach().std()) > 0.01


@pytest.mark.parametrize("preset", ["9-1-5", "small"])
def test_training_moves_away_from_the_first_weights(preset):
    """Weights of 1e-3 in three layers make a black image and a gradient of 1e-4 or less; Adam divides it by itself."""
    torch.manual_seed(0)
    network = build("srcnn", scale=2, preset=preset, options={"num_colours": 1})
    lr, hr = torch.rand(2, 3, 10, 10) * 255, torch.rand(2, 3, 20, 20) * 255
    first = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=1e-3), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.l1_loss(network(lr), hr)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for before, parameter in zip(first, network.parameters(), strict=True):
        assert (parameter - before).abs().mean() > 1e-3
