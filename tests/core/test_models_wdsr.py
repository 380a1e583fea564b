"""WDSR against a plain one of torch's own layers, its weight normalisation, and the fused network."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sr_core.models import build
from sr_core.models.fast_layers import pointwise_conv2d
from sr_core.models.layers import DIV2K_MEAN, NormalisedConv2d, relu_

NAMES = ("wdsr_a", "wdsr_b")


def wdsr(name, *, scale=4, seed=0, **options):
    torch.manual_seed(seed)
    return build(name, scale=scale, preset="small", options=options)


def loud(network):
    """Gains that have left what the directions say, and biases that are seen."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(1.5 if name.endswith("weight_g") else 1.0)
            parameter.add_(0.1 if name.endswith("bias") else 0.0)
    return network


def torchs(conv):
    """The same layer as public code writes it: nn.Conv2d below torch's weight normalisation."""
    num_out, num_in, side, _ = conv.weight_v.shape
    plain = nn.utils.parametrizations.weight_norm(nn.Conv2d(num_in, num_out, side, padding=side // 2))
    state = {
        "parametrizations.weight.original0": conv.weight_g,
        "parametrizations.weight.original1": conv.weight_v,
        "bias": conv.bias,
    }
    plain.load_state_dict(state)
    return plain


class Plain(nn.Module):
    """JiahuiYu's network, with the weights of ours."""

    def __init__(self, network):
        super().__init__()
        convolutions = [
            [torchs(conv) for conv in (block.conv1, block.conv2, getattr(block, "conv3", None)) if conv is not None]
            for block in network.body
        ]
        bodies = [nn.Sequential(first, nn.ReLU(inplace=True), *others) for first, *others in convolutions]
        self.head, self.body = torchs(network.head), nn.ModuleList(bodies)
        self.tail = nn.Sequential(torchs(network.tail), nn.PixelShuffle(network.scale))
        self.skip = nn.Sequential(torchs(network.skip), nn.PixelShuffle(network.scale))
        self.res_scale = network.config.res_scale
        self.is_half = network.config.normalisation == "half"

    def forward(self, x):
        mean = 255 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
        x = x / 255 - 0.5 if self.is_half else (x - mean) / 127.5
        deep = self.head(x)
        for body in self.body:
            deep = deep + body(deep) * self.res_scale
        out = self.tail(deep) + self.skip(x)
        return (out + 0.5) * 255 if self.is_half else out * 127.5 + mean


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("options", [{}, {"normalisation": "half", "res_scale": 0.3, "num_features": 20, "expand": 3}])
def test_it_is_the_papers_network_and_so_is_its_gradient(name, scale, options):
    network = loud(wdsr(name, scale=scale, **options))
    plain, x = Plain(network), torch.rand(2, 3, 9, 8) * 255
    out, expected = network(x), plain(x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-3)
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    pairs = [(network.head, plain.head), (network.tail, plain.tail[0]), (network.skip, plain.skip[0])]
    pairs += [(block.conv1, body[0]) for block, body in zip(network.body, plain.body, strict=True)]
    pairs += [(block.conv2, body[2]) for block, body in zip(network.body, plain.body, strict=True)]
    for own, other in pairs:
        scales = other.parametrizations.weight
        torch.testing.assert_close(own.weight_g.grad, scales.original0.grad, rtol=1e-3, atol=0.05)
        torch.testing.assert_close(own.weight_v.grad, scales.original1.grad, rtol=1e-3, atol=0.05)
        torch.testing.assert_close(own.bias.grad, other.bias.grad, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_with_the_weights_that_torch_gives_plain_convolutions(name):
    normalised, plain = wdsr(name), wdsr(name, weight_norm=False)
    convolutions = [module for module in normalised.modules() if isinstance(module, NormalisedConv2d)]
    others = [module for module in plain.modules() if isinstance(module, nn.Conv2d)]
    for own, other in zip(convolutions, others, strict=True):
        torch.testing.assert_close(own.weight, other.weight)
        assert torch.equal(own.bias, other.bias)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_fused_network_computes_the_same(name, scale):
    network = loud(wdsr(name, scale=scale)).eval()
    fused, x = network.fused(), torch.rand(1, 3, 11, 9) * 255
    assert not any("weight_g" in key for key in fused.state_dict())
    assert not fused.training
    expected = network(x)
    assert (fused(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    torch.testing.assert_close(fused.fused().state_dict(), fused.state_dict())


def test_a_normalised_weight_does_not_depend_on_its_directions_length():
    layer = NormalisedConv2d(3, 5, 3)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight_v *= torch.tensor([0.01, 0.5, 1.0, 3.0, 100.0]).view(5, 1, 1, 1)
    torch.testing.assert_close(layer.weight, before)
    torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), layer.weight_g.flatten())


@pytest.mark.parametrize("kernel", [1, 3])
def test_normalisation_keeps_the_memory_format_that_convolutions_want(kernel):
    layer = NormalisedConv2d(8, 6, kernel).to(memory_format=torch.channels_last)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    layer.weight.square().sum().backward()
    torch.testing.assert_close(layer.weight_v.grad, torch.zeros_like(layer.weight_v), atol=1e-6, rtol=0)
    torch.testing.assert_close(layer.weight_g.grad, 2 * layer.weight_g)


def test_relu_of_bf16_is_torchs_and_so_is_its_gradient():
    values = [0.0, -0.0, 1.5, -1.5, 1e-38, -1e-38, 1e-40, -1e-40, float("inf"), float("-inf"), 3e38, -3e38]
    inputs = [torch.tensor(values).bfloat16().requires_grad_() for _ in range(2)]
    own, other = relu_(inputs[0] * 1), functional.relu(inputs[1] * 1)
    assert torch.equal(own, other)
    for out in (own, other):
        out.backward(torch.arange(1.0, 13.0).bfloat16())
    assert torch.equal(inputs[0].grad, inputs[1].grad)
    assert torch.equal(relu_(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))
    assert relu_(torch.tensor([float("nan"), -float("nan")]).bfloat16()).isnan().all()


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_the_output_is_not_rounded_to_bf16(name):
    network, x = wdsr(name), (torch.rand(1, 3, 12, 12) * 255).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x)
    assert not torch.equal(out, out.bfloat16().float())
    torch.testing.assert_close(out, network(x), atol=3.0, rtol=0)


def test_a_pointwise_convolutions_gradients_equal_onednns():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 24, 9, 11, generator=generator).to(memory_format=torch.channels_last).bfloat16()
    weight, bias = torch.randn(32, 24, 1, 1, generator=generator), torch.randn(32, generator=generator)
    found = []
    for conv in (pointwise_conv2d, functional.conv2d):
        given = [each.clone().requires_grad_() for each in (x, weight, bias)]
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(*given)
        out.float().square().sum().backward()
        found.append((out, *(each.grad for each in given)))
    for own, theirs in zip(*found, strict=True):
        torch.testing.assert_close(own, theirs, rtol=2e-2, atol=0.02 * theirs.detach().abs().max().item())
