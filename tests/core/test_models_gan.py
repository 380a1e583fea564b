"""The networks of the papers on adversarial training: against counts, straightforward versions and their promises."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sr_core.errors import CheckpointError, ConfigError
from sr_core.models import MODELS, build
from sr_core.models.discriminator import Discriminator
from sr_core.models.fast_layers import PReLU, UnshuffledConv2d
from sr_core.models.interpolation import Bicubic
from sr_core.models.layers import SubPixelConv2d
from sr_core.models.rrdb import DenseBlock
from sr_core.models.vgg import VggFeatures

GENERATORS = [(name, scale) for name in ("srresnet", "rrdb") for scale in MODELS[name].scales]


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def made(name, scale=4, preset="small", **options):
    torch.manual_seed(0)
    return build(name, scale=scale, preset=preset, options=options)


@pytest.mark.parametrize(
    ("name", "preset", "scale", "expected"),
    [
        ("srresnet", "paper", 2, 1_399_637),
        ("srresnet", "paper", 4, 1_547_350),
        ("srgan", "paper", 4, 1_547_350),
        ("srresnet", "paper", 8, 1_695_063),
        ("rrdb", "paper", 4, 16_697_987),
        ("esrgan", "paper", 4, 16_697_987),
        ("rrdb", "lite", 4, 4_467_779),
    ],
)
def test_the_number_of_parameters_is_the_papers(name, preset, scale, expected):
    with torch.device("meta"):
        network = build(name, scale=scale, preset=preset, options={})
    assert count(network) == expected


def test_a_scale_that_srresnet_lacks_is_named():
    with pytest.raises(ConfigError, match=r"data\.scale: is 3, but srgan exists for 2, 4, 8"):
        made("srgan", scale=3)


def srresnet_plainly(network, x):
    """Figure 4 of the paper in torch's own functions."""

    def prelu(x, layer):
        return functional.prelu(x, layer.weight)

    def conv(x, layer):
        return functional.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)

    def norm(x, layer):
        return functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=1e-5)

    shallow = deep = prelu(conv(x / 255, network.head), network.activation)
    for block in network.body:
        inner = prelu(norm(conv(deep, block.conv1), block.norm1), block.activation)
        deep = deep + norm(conv(inner, block.conv2), block.norm2)
    deep = norm(conv(deep, network.after_body), network.norm) + shallow
    for stage in network.upsampler:
        deep = prelu(functional.pixel_shuffle(conv(deep, stage.conv), 2), stage.activation)
    return (conv(deep, network.tail) + 1) * 127.5  # paper: HR images are on [-1, 1]


def rrdb_plainly(network, x):
    """Figures 3 and 4 of the paper in torch's own functions."""

    def conv(x, layer):
        return functional.conv2d(x, layer.weight, layer.bias, padding=1)

    def lrelu(x):
        return torch.where(x > 0, x, 0.2 * x)

    def dense(x, block):
        features = [x]
        for layer in (block.conv1, block.conv2, block.conv3, block.conv4):
            features.append(lrelu(conv(torch.cat(features, 1), layer)))
        return x + 0.2 * conv(torch.cat(features, 1), block.conv5)

    shallow = deep = conv(x / 255, network.head)
    for block in network.body:
        deep = deep + 0.2 * dense(dense(dense(deep, block.rdb1), block.rdb2), block.rdb3)
    deep = conv(deep, network.after_body) + shallow
    for layer in network.upsampler:
        factor = 3 if network.scale == 3 else 2
        deep = lrelu(conv(deep.repeat_interleave(factor, -1).repeat_interleave(factor, -2), layer))
    return conv(lrelu(conv(deep, network.before_tail)), network.tail) * 255


PLAINLY = {"srresnet": srresnet_plainly, "rrdb": rrdb_plainly}


@pytest.mark.parametrize(("name", "scale"), GENERATORS)
def test_result_and_gradients_equal_a_straightforward_version(name, scale):
    network = made(name, scale, global_skip="none").double()
    x = torch.rand(2, 3, 9, 7, dtype=torch.float64) * 255
    weights = torch.rand(2, 3, 9 * scale, 7 * scale)
    found, expected = network(x), PLAINLY[name](network, x)
    torch.testing.assert_close(found, expected)
    parameters = list(network.parameters())
    own = torch.autograd.grad((found * weights).sum(), parameters)
    plain = torch.autograd.grad((expected * weights).sum(), parameters)
    for one, other in zip(own, plain, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


@pytest.mark.parametrize("name", ["srresnet", "rrdb"])
def test_a_bicubic_skip_adds_the_interpolated_image(name):
    with_skip, without = made(name, global_skip="bicubic").eval(), made(name, global_skip="none").eval()
    x = torch.rand(1, 3, 8, 9) * 255
    offset = 127.5 if name == "srresnet" else 0.0
    torch.testing.assert_close(with_skip(x), without(x) - offset + Bicubic(4)(x))


@pytest.mark.parametrize(("name", "scale"), GENERATORS)
def test_the_receptive_field_is_what_is_declared(name, scale):
    network = made(name, scale, num_blocks=1, num_features=8, global_skip="none").eval()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.0, 0.1)  # nothing cancels out
    network.double()
    reach = network.receptive_field
    middle = reach + 2
    x = torch.rand(1, 3, 2 * middle + 1, 2 * middle + 1, dtype=torch.float64).requires_grad_()
    block = slice(middle * scale, (middle + 1) * scale)
    network(x)[..., block, block].sum().backward()
    for axis in (2, 3):
        touched = x.grad.abs().sum([other for other in range(4) if other != axis]).nonzero().flatten()
        assert (touched.min(), touched.max()) == (middle - reach, middle + reach)


def test_the_papers_networks_reach_this_far():
    with torch.device("meta"):
        assert made("srresnet", preset="paper").receptive_field == 40
        assert made("rrdb", preset="paper").receptive_field == 349


@pytest.mark.parametrize("name", ["srresnet", "rrdb"])
def test_every_parameter_learns_under_autocast(name):
    network = made(name).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(torch.rand(2, 3, 8, 8) * 255)
    out.square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


def test_rrdb_begins_close_to_its_input():
    block = DenseBlock(64, 32, 0.2)
    for index, conv in enumerate((block.conv1, block.conv2, block.conv3, block.conv4, block.conv5)):
        assert conv.weight.std().item() == pytest.approx(0.1 * (2 / ((64 + 32 * index) * 9)) ** 0.5, rel=0.05)
        assert not conv.bias.any()


def test_a_dense_block_keeps_little_for_its_backward_pass():
    block, kept = DenseBlock(64, 32, 0.2), []
    x = torch.rand(1, 64, 32, 32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        block(x)
    own = {parameter.data_ptr() for parameter in block.parameters()}
    channels = [tensor.shape[1] for tensor in kept if tensor.data_ptr() not in own]
    assert channels == [192]  # concatenated: 64 + 96 + 128 + 160 + 192, and the four results of 32


@pytest.mark.parametrize("slope", [0.25, 0.0, -0.5, 1.0])
def test_prelu_equals_torchs(slope):
    own, plain = PReLU().double(), nn.PReLU().double()
    for layer in (own, plain):
        nn.init.constant_(layer.weight, slope)
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64, generator=torch.manual_seed(0))
    x[0, 0, 0] = 0.0
    torch.testing.assert_close(own(x), plain(x))
    results = []
    for layer in (own, plain):
        leaf = x.clone().requires_grad_()
        (layer(leaf) * torch.arange(x.numel()).view_as(x)).sum().backward()
        results.append((leaf.grad, layer.weight.grad))
    torch.testing.assert_close(*results)


def test_prelus_slope_learns_as_precisely_in_bf16():
    own, exact = PReLU(), nn.PReLU()
    x = torch.randn(4, 8, 32, 32, generator=torch.manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        own(x).float().square().sum().backward()
    exact(x.float()).square().sum().backward()
    assert own.weight.grad.item() == pytest.approx(exact.weight.grad.item(), rel=1e-3)


@pytest.mark.parametrize(("scale", "kernel"), [(2, 9), (2, 3), (3, 9), (3, 5), (4, 9), (1, 9)])
def test_a_head_before_the_shuffle_equals_one_behind_it(scale, kernel):
    torch.manual_seed(0)
    stage, head = SubPixelConv2d(4, scale).double(), UnshuffledConv2d(4, 3, kernel).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    features = functional.pixel_shuffle(functional.conv2d(x, stage.weight, stage.bias, padding=1), scale)
    expected = functional.conv2d(features, head.weight, head.bias, padding=kernel // 2)
    found = head(stage.unshuffled(x), scale)
    torch.testing.assert_close(found, expected)
    parameters = [*stage.parameters(), *head.parameters()]
    weights = torch.rand_like(expected)
    own = torch.autograd.grad((found * weights).sum(), parameters)
    plain = torch.autograd.grad((expected * weights).sum(), parameters)
    torch.testing.assert_close(own, plain)


@pytest.mark.parametrize(("side", "expected"), [(96, 23_563_649), (128, 38_243_713)])
def test_the_discriminator_has_the_papers_number_of_parameters(side, expected):
    with torch.device("meta"):
        assert count(Discriminator(side=side)) == expected


@pytest.mark.parametrize("side", [32, 33, 48, 96, 128])
def test_the_discriminator_judges_crops_of_any_size(side):
    torch.manual_seed(0)
    network = Discriminator(side=side, num_features=8, num_dense=16).to(memory_format=torch.channels_last)
    x = torch.rand(3, 3, side, side).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    assert (logits.shape, logits.dtype) == ((3, 1), torch.float32)
    logits.square().sum().backward()
    assert x.grad.abs().max() > 0
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_the_discriminator_is_the_papers_network():
    torch.manual_seed(0)
    network = Discriminator(side=33, num_features=4, num_dense=8)
    features = 2 * torch.rand(5, 3, 33, 33) - 1
    x = (features + 1) / 2
    for index, block in enumerate(network.body):
        features = functional.conv2d(features, block.conv.weight, block.conv.bias, padding=1, stride=1 + index % 2)
        assert (block.conv.bias is None) == (index > 0)
        if index > 0:
            features = functional.batch_norm(features, None, None, block.norm.weight, block.norm.bias, training=True)
        features = torch.where(features > 0, features, 0.2 * features)
    assert [block.conv.out_channels for block in network.body] == [4, 4, 8, 8, 16, 16, 32, 32]
    dense = functional.leaky_relu(network.dense(features.flatten(1)), 0.2)
    torch.testing.assert_close(network(x), network.tail(dense))


def test_crops_that_are_too_small_for_the_discriminator_are_named():
    with pytest.raises(ConfigError, match=r"train\.crop: HR crops of 31 pixels are too small.*at least 32"):
        Discriminator(side=31)


def vgg_layers():
    """torchvision's vgg19().features, by hand."""
    sizes = [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"]
    layers, num_in = [], 3
    for size in sizes:
        if size == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(num_in, size, 3, padding=1), nn.ReLU()]
            num_in = size
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def vgg19():
    torch.manual_seed(0)
    features = vgg_layers()
    assert count(features) == 20_024_384
    classifier = {"classifier.0.weight": torch.zeros(4096, 25088, device="meta")}
    return features, {f"features.{name}": tensor for name, tensor in features.state_dict().items()} | classifier


@pytest.mark.parametrize(
    ("layer", "before_activation", "end", "divisor", "num"),
    [
        ("vgg54", False, 36, 12.75, 20_024_384),
        ("vgg54", True, 35, 1.0, 20_024_384),
        ("vgg22", False, 9, 12.75, 260_160),
        ("vgg22", True, 8, 1.0, 260_160),
    ],
)
def test_vgg_features_are_torchvisions(vgg19, layer, before_activation, end, divisor, num):
    plain, state = vgg19
    features = VggFeatures(layer, before_activation=before_activation)
    features.fill(state)
    assert count(features) == num
    assert not features.training
    x = torch.rand(2, 3, 32, 35).requires_grad_()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (x - mean[:, None, None]) / std[:, None, None]
    found = features(x)
    torch.testing.assert_close(found, plain[:end](normalised) / divisor)
    assert (found.min() < 0) == before_activation
    found.square().sum().backward()
    assert x.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())


def test_vgg_features_are_float32_under_autocast(vgg19):
    features = VggFeatures("vgg22")
    features.fill(vgg19[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert features(torch.rand(1, 3, 16, 16)).dtype == torch.float32


def test_vgg_without_weights_gives_nothing_that_could_be_mistaken():
    assert VggFeatures("vgg22")(torch.rand(1, 3, 16, 16)).isnan().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.5.weight": None}, r"features\.5\.weight is absent, expected shape \(128, 64, 3, 3\)"),
        ({"features.0.bias": torch.zeros(3)}, r"features\.0\.bias is \(3,\), expected shape \(64,\)"),
    ],
)
def test_weights_that_are_not_vggs_are_named(vgg19, change, message):
    state = {name: tensor for name, tensor in (vgg19[1] | change).items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        VggFeatures("vgg22").fill(state)
