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
    ("srcnn", "9-1-5"): {2: 20_099, 3: 20_099, 4: 20_099},
    ("srcnn", "9-3-5"): {2: 36_483, 3: 36_483, 4: 36_483},
    ("srcnn", "9-5-5"): {2: 69_251, 3: 69_251, 4: 69_251},
    ("wdsr_a", "baseline"): {2: 1_190_100, 3: 1_195_605, 4: 1_203_312, 8: 1_256_160},
    ("wdsr_a", "wide"): {2: 37_808_180, 3: 37_826_645, 4: 37_852_496, 8: 38_029_760},
    ("wdsr_b", "baseline"): {2: 303_604, 3: 309_109, 4: 316_816, 8: 369_664},
    ("wdsr_b", "deep"): {2: 601_876, 3: 607_381, 4: 615_088, 8: 667_936},
    ("nearest", "small"): {2: 0, 3: 0, 4: 0, 8: 0},
    ("bilinear", "small"): {2: 0, 3: 0, 4: 0, 8: 0},
    ("bicubic", "small"): {2: 0, 3: 0, 4: 0, 8: 0},
    ("lanczos", "small"): {2: 0, 3: 0, 4: 0, 8: 0},
}
OPTIONS = [  # counts of networks that depart from a preset
    *(("srcnn", f"9-{k}-5", {"num_colours": 1}, 2, count) for k, count in ((1, 8_129), (3, 24_513), (5, 57_281))),
    *(
        (name, preset, {"weight_norm": False}, scale, count)
        for (name, preset), counts in {
            ("wdsr_a", "baseline"): (1_187_484, 1_192_959, 1_200_624, 1_253_184),
            ("wdsr_a", "wide"): (37_787_548, 37_805_983, 37_831_792, 38_008_768),
            ("wdsr_b", "baseline"): (299_564, 305_039, 312_704, 365_264),
            ("wdsr_b", "deep"): (593_852, 599_327, 606_992, 659_552),
        }.items()
        for scale, count in zip((2, 3, 4, 8), counts, strict=True)
    ),
]
CASES = [(name, preset, scale, count) for (name, preset), row in COUNTS.items() for scale, count in row.items()]
SMALL = [(name, scale) for name, entry in MODELS.items() for scale in entry.scales]


def small(name, scale):
    torch.manual_seed(0)
    return build(name, scale=scale, preset="small", options={})


@pytest.mark.parametrize(("name", "preset", "scale", "count"), CASES)
def test_the_number_of_parameters_is_the_papers(name, preset, scale, count):
    with torch.device("meta"):
        network = build(name, scale=scale, preset=preset, options={})
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(("name", "preset", "options", "scale", "count"), OPTIONS)
def test_so_it_is_without_gains_and_with_one_colour(name, preset, options, scale, count):
    with torch.device("meta"):
        network = build(name, scale=scale, preset=preset, options=options)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_the_output_is_float32_and_s_times_larger(name, scale):
    network = small(name, scale)
    x = torch.rand(2, 3, 7, 11) * 255
    assert network(x).shape == (2, 3, 7 * scale, 11 * scale)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x.to(memory_format=torch.channels_last))
    assert out.dtype == torch.float32


def seen(network):
    """The first and the last row of an image that reach its middle pixel, counted from there."""
    side = 2 * network.receptive_field + 9
    x = torch.full((1, 3, side, side), 255.0, requires_grad=True)
    middle, scale = side // 2, network.scale
    network.eval()(x)[
        ..., middle * scale : (middle + 1) * scale, middle * scale : (middle + 1) * scale
    ].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    return int(rows.min()) - middle, int(rows.max()) - middle


@pytest.mark.parametrize(("name", "scale"), SMALL)
def test_the_receptive_field_is_what_is_declared(name, scale):
    network = small(name, scale)
    for parameter in network.parameters():  # above zero, so that nothing cancels out and no ReLU is shut
        nn.init.uniform_(parameter, 0.5, 1.5)
        parameter.data /= parameter[0].numel() if parameter.dim() == 4 else 1
    assert seen(network) == (-network.receptive_field, network.receptive_field)


@pytest.mark.parametrize("kernels", [(9, 1, 5), (9, 3, 5), (9, 5, 5), (1, 1, 1), (11, 11, 11)])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_so_it_is_of_srcnn_whose_kernels_are_in_hr_pixels(kernels, scale):
    options = {f"kernel{i}": side for i, side in enumerate(kernels, 1)} | {"num_features1": 2, "num_features2": 2}
    network = build("srcnn", scale=scale, preset="9-1-5", options=options)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    assert seen(network) == (-network.receptive_field, network.receptive_field)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.is_trainable])
def test_what_depends_on_the_scale_is_named_and_the_rest_fits_any(name):
    scales = MODELS[name].scales
    first, second = (small(name, scale).state_dict() for scale in (scales[0], scales[-1]))
    prefixes = small(name, scales[0]).scale_dependent
    for state, other in ((first, second), (second, first)):
        for key, tensor in state.items():
            named = any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
            assert named or (key in other and other[key].shape == tensor.shape), key
    assert all(any(key.startswith(prefix) for key in second) for prefix in prefixes)


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
    with pytest.raises(
        ConfigError, match=r"model\.name: bicubic has no parameters to train, expected one of srcnn, edsr,"
    ):
        check_trainable(Params(model=ModelParams(name="bicubic")))
    with pytest.raises(ConfigError, match=r"model\.preset: no such name 'smal'; did you mean small\?"):
        check_trainable(Params(model=ModelParams(preset="smal")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "esdr"}, r"model\.name: no such name 'esdr'; did you mean edsr\?"),
        ({"preset": "bseline"}, r"model\.preset: no such name 'bseline'; did you mean baseline\?"),
        ({"options": {"num_block": 3}}, r"model\.options\.num_block: no such option.*did you mean num_blocks\?"),
        (
            {"name": "wdsr_b", "options": {"normalisation": "divk"}},
            r"normalisation: is 'divk', expected one of div2k, half",
        ),
        ({"name": "wdsr_b", "options": {"weight_norm": 1}}, r"options\.weight_norm: is 1, expected true or false"),
        ({"name": "srcnn", "options": {"num_colours": True}}, r"options\.num_colours: is True, expected one of 1, 3"),
        ({"name": "srcnn", "options": {"kernel1": [9]}}, r"options\.kernel1: is \[9\], expected one of 1, 3, 5, 7"),
        ({"options": {"res_scale": float("nan")}}, r"options\.res_scale: is nan, expected a number above 0"),
        ({"options": {"scale": 2}}, r"options\.scale: no such option 'scale'"),
        ({"scale": 5}, r"data\.scale: is 5, but edsr exists for 2, 3, 4, 8: take one of them or another model\.name"),
        ({"name": "srgan", "scale": 3}, r"data\.scale: is 3, but srgan exists for 2, 4, 8"),
        (
            {"scale": 5, "options": {"num_blocks": 0, "global_skip": "cubic"}},
            r"3 parameters of edsr are wrong:\n.*\.num_blocks: .*\n.*\.global_skip: .*\n  data\.scale: is 5",
        ),
        ({"options": {"num_blocks": 2.5}}, r"model\.options\.num_blocks: is 2\.5, expected a whole number"),
        ({"options": {"num_blocks": True}}, r"model\.options\.num_blocks: is True"),
        ({"options": {"res_scale": -1.0}}, r"model\.options\.res_scale: is -1\.0, expected a number above 0"),
    ],
)
def test_wrong_names_and_options_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**({"name": "edsr", "scale": 4, "preset": "small", "options": {}} | arguments))
