"""Every network of the table against its paper's counts and its own promises."""

import pytest
import torch
from torch import nn

from sr_core.errors import ConfigError
from sr_core.models import MODELS, build, check_trainable
from sr_core.models.layers import DIV2K_MEAN, Float32Conv2d, SubPixelConv2d
from sr_core.params import ModelParams, Params

COUNTS = {  # of the authors' networks, the mean shift as a buffer
    ("edsr", "baseline"): {2: 1_369_859, 3: 1_554_499, 4: 1_517_571, 8: 1_665_283},
    ("edsr", "full"): {2: 40_729_603, 3: 43_680_003, 4: 43_089_923, 8: 45_450_243},
    ("bicubic", "small"): {2: 0, 3: 0, 4: 0, 8: 0},
}
CASES = [(name, preset, scale, count) for (name, preset), row in COUNTS.items() for scale, count in row.items()]
SMALL = [(name, scale) for name, entry in MODELS.items() for scale in entry.scales]


def small(name, scale):
    torch.manual_seed(0)
    return build(name, scale=scale, preset="small", options={})


@pytest.mark.parametrize(("name", "preset", "scale", "count"), CASES)
def test_the_number_of_parameters_is_the_papers(name, preset, scale, count):
    with torch.device("meta") if name != "bicubic" else torch.device("cpu"):
        network = build(name, scale=scale, preset=preset, options={})
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_the_output_is_float32_and_s_times_larger(name, scale):
    network = small(name, scale)
    x = torch.rand(2, 3, 7, 11) * 255
    assert network(x).shape == (2, 3, 7 * scale, 11 * scale)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x.to(memory_format=torch.channels_last))
    assert out.dtype == torch.float32


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_the_receptive_field_is_never_larger_than_declared(name, scale):
    network = small(name, scale).eval()
    reach = network.receptive_field
    side = 2 * reach + 9
    x = (torch.rand(1, 3, side, side) * 255).requires_grad_()
    middle = side // 2
    network(x)[..., middle * scale : (middle + 1) * scale, middle * scale : (middle + 1) * scale].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.min() >= middle - reach
    assert rows.max() <= middle + reach


def test_edsr_is_the_papers_network():
    network = small("edsr", 4)
    x = torch.rand(1, 3, 9, 8) * 255
    mean = 255 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
    shallow = network.head(x - mean)
    deep = shallow
    for block in network.body:
        deep = deep + block.conv2(block.conv1(deep).relu()) * block.res_scale
    deep = network.after_body(deep) + shallow
    for stage in network.upsampler:
        deep = nn.functional.pixel_shuffle(nn.functional.conv2d(deep, stage.weight, stage.bias, padding=1), 2)
    expected = nn.functional.conv2d(deep, network.tail.weight, network.tail.bias, padding=1) + mean
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("scale", [2, 3])
def test_sub_pixel_convolution_equals_convolution_and_pixel_shuffle(scale):
    layer = SubPixelConv2d(5, scale)
    x = torch.randn(2, 5, 6, 7)
    plain = nn.functional.pixel_shuffle(nn.functional.conv2d(x, layer.weight, layer.bias, padding=1), scale)
    torch.testing.assert_close(layer(x), plain)


def test_the_output_heads_gradient_equals_a_plain_convolutions():
    head, plain = Float32Conv2d(6, 3, 3), nn.Conv2d(6, 3, 3, padding=1)
    plain.load_state_dict(head.state_dict())
    x, y = (torch.randn(2, 6, 9, 8, generator=torch.manual_seed(0)).requires_grad_() for _ in range(2))
    head(x).square().sum().backward()
    plain(y).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    for own, other in zip(head.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_the_output_head_keeps_float32_under_autocast():
    head = Float32Conv2d(16, 3, 3)
    x = torch.randn(1, 16, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = head(x)
    torch.testing.assert_close(out, nn.functional.conv2d(x.float(), head.weight, head.bias, padding=1))
    assert not torch.equal(out, out.bfloat16().float())


def test_what_cannot_be_trained_is_said_before_any_work():
    check_trainable(Params())
    with pytest.raises(ConfigError, match=r"model\.name: bicubic has no parameters to train, expected one of srcnn, edsr,"):
        check_trainable(Params(model=ModelParams(name="bicubic")))
    with pytest.raises(ConfigError, match=r"model\.preset: no such name 'smal'; did you mean small\?"):
        check_trainable(Params(model=ModelParams(preset="smal")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "esdr"}, r"model\.name: no such name 'esdr'; did you mean edsr\?"),
        ({"preset": "bseline"}, r"model\.preset: no such name 'bseline'; did you mean baseline\?"),
        ({"options": {"num_block": 3}}, r"model\.options\.num_block: no such option.*did you mean num_blocks\?"),
        ({"options": {"num_blocks": 2.5}}, r"model\.options\.num_blocks: is 2\.5, expected a whole number"),
        ({"options": {"num_blocks": True}}, r"model\.options\.num_blocks: is True"),
        ({"options": {"res_scale": -1.0}}, r"model\.options\.res_scale: is -1\.0, expected a number above 0"),
    ],
)
def test_wrong_names_and_options_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**({"name": "edsr", "scale": 4, "preset": "small", "options": {}} | arguments))
