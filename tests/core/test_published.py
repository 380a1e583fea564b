"""The authors' networks, built here as they published them, become ours: same pixels, from any way of saving them."""

import authors
import pytest
import torch
from authors import new_norm, no_norm, weight_norm
from torch import nn

from sr_core.errors import CheckpointError, ConfigError
from sr_core.models.layouts.reading import Given
from sr_core.models.published import recognise
from sr_core.models.state_dicts import find
from sr_core.train.weights import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
NORMS = {"by hooks": weight_norm, "parametrised": new_norm, "fused": no_norm}
UNIT, BYTES = 1.0, 255.0  # the range of an author's images


def made(build):
    """A network with weights of its own, biases included."""
    torch.manual_seed(3)
    network = build().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") and not name.startswith(("sub_mean", "add_mean")):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def saved(network, path, *, is_zip=True, wrapped=lambda state: state):
    torch.save(wrapped(network.state_dict()), path, _use_new_zipfile_serialization=is_zip)
    return path


@torch.no_grad()
def worst_pixel(network, loaded, reach):
    """The largest difference on 0..255 between the author's forward pass and ours, on images with borders."""
    x = 255 * torch.rand(2, 3, 13, 10, generator=torch.Generator().manual_seed(5))
    theirs = network(x / 255 * reach) * (255 / reach)
    ours = loaded.network(x)
    assert theirs.std() > 1  # it makes something of the image
    assert theirs.shape == ours.shape
    return float((theirs - ours).abs().max())


NETWORKS = {
    "EDSR-PyTorch": (lambda scale: authors.EdsrPytorch(scale), BYTES, "edsr"),
    "EDSR-PyTorch, rgb_range 1": (lambda scale: authors.EdsrPytorch(scale, rgb_range=1), UNIT, "edsr"),
    "BasicSR EDSR": (lambda scale: authors.EdsrBasicsr(scale), UNIT, "edsr"),
    "ychfan, a list": (lambda scale: authors.WdsrYchfan(scale), UNIT, "wdsr_a"),
    "ychfan, a list, wider": (lambda scale: authors.WdsrYchfan(scale, blocks=2, wide=6), UNIT, "wdsr_a"),
    **{
        f"JiahuiYu {variant}, {name}": (
            lambda scale, variant=variant, norm=norm: authors.WdsrJiahui(scale, variant, wn=norm),
            BYTES,
            f"wdsr_{variant}",
        )
        for variant in "ab"
        for name, norm in NORMS.items()
    },
    **{
        f"ychfan by name, {variant}": (
            lambda scale, variant=variant: authors.WdsrYchfanByName(scale, variant),
            UNIT,
            f"wdsr_{variant}",
        )
        for variant in "ab"
    },
    **{
        f"ychfan, {name}": (lambda scale, norm=norm: authors.WdsrYchfan(scale, wn=norm), UNIT, "wdsr_a")
        for name, norm in NORMS.items()
    },
}


@pytest.mark.parametrize(("scale", "is_zip"), [(2, True), (3, True), (4, True), (8, True), (2, False)])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_authors_network_gives_the_same_pixels_here(name, scale, is_zip, tmp_path):
    build, reach, model = NETWORKS[name]
    network = made(lambda: build(scale))
    loaded = load_model(saved(network, tmp_path / "net.pt", is_zip=is_zip))
    assert (loaded.card.model, loaded.card.scale) == (model, scale)
    assert worst_pixel(network, loaded, reach) < 1e-3


@pytest.mark.parametrize(
    ("build", "scale"),
    [
        (authors.RrdbBasicsr, 4),
        (authors.EsrganNew, 4),
        *((lambda scale=scale: authors.EsrganOld(scale), scale) for scale in (2, 4, 8)),
    ],
)
def test_every_rrdbnet_gives_the_same_pixels_here(build, scale, tmp_path):
    network = made(build)
    loaded = load_model(saved(network, tmp_path / "net.pth"))
    assert (loaded.card.model, loaded.card.scale) == ("rrdb", scale)
    assert worst_pixel(network, loaded, UNIT) < 1e-3


def test_x3_of_the_oldest_esrgan_is_x2_until_it_is_said(tmp_path):
    network = made(lambda: authors.EsrganOld(3))
    path = saved(network, tmp_path / "net.pth")
    assert load_model(path).assumed == {"data.scale": 2}
    loaded = load_model(path, Given(scale=3, model="esrgan"))
    assert (loaded.card.model, loaded.card.scale, loaded.assumed) == ("esrgan", 3, {})
    assert worst_pixel(network, loaded, UNIT) < 1e-3


@pytest.mark.parametrize("build", [authors.EdsrPytorch, authors.EdsrBasicsr])
def test_wide_networks_have_a_damped_residual(build, tmp_path):
    reach = BYTES if build is authors.EdsrPytorch else UNIT
    network = made(lambda: build(2, blocks=2, features=256, res_scale=0.1))
    loaded = load_model(saved(network, tmp_path / "net.pt"))
    assert loaded.assumed == {"model.options.res_scale": 0.1}
    assert worst_pixel(network, loaded, reach) < 1e-3


@pytest.mark.parametrize("variant", ["a", "b"])
def test_a_wide_wdsr_has_one_too_but_not_ychfans(variant, tmp_path):
    network = made(lambda: authors.WdsrJiahui(2, variant, blocks=2, features=128, res_scale=0.1))
    loaded = load_model(saved(network, tmp_path / "net.pt"))
    assert loaded.assumed == {"model.options.res_scale": 0.1}
    assert worst_pixel(network, loaded, BYTES) < 1e-3
    network = made(lambda: authors.WdsrYchfan(2, blocks=2, features=128))
    loaded = load_model(saved(network, tmp_path / "net.pt"))
    assert (loaded.assumed, loaded.card.options["res_scale"]) == ({}, 1.0)
    assert worst_pixel(network, loaded, UNIT) < 1e-3


def test_what_the_file_does_not_tell_can_be_given(tmp_path):
    network = made(lambda: authors.EdsrPytorch(2, res_scale=0.25))
    path = saved(network, tmp_path / "net.pt")
    assert worst_pixel(network, load_model(path), BYTES) > 0.1
    loaded = load_model(path, Given(options={"res_scale": 0.25}))
    assert loaded.assumed == {}
    assert worst_pixel(network, loaded, BYTES) < 1e-3
    with pytest.raises(ConfigError, match=r"model\.options\.res_scal: no such option .*did you mean res_scale"):
        load_model(path, Given(options={"res_scal": 0.25}))


WRAPPERS = {
    "params": lambda state: {"params": state},
    "averaged beside others": lambda state: {"params": {"x.y": torch.ones(1)}, "params_ema": state},
    "a trainer's": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}},
    "nested": lambda state: {"model": {"state_dict": state}},
    "ychfan's trainer": lambda state: {"model_state_dict": state, "lr_scheduler_state_dict": {"last_epoch": 30}},
    "a generator": lambda state: {"generator": state, "discriminator": {"a.b": torch.ones(1)}},
    "DistributedDataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "torch.compile": lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    "in a module": lambda state: {f"model.{name}": tensor for name, tensor in state.items()},
    "all of them": lambda state: {"state_dict": {f"module._orig_mod.model.{name}": t for name, t in state.items()}},
    "beside a discriminator": lambda state: {
        "state_dict": {**{f"netG.{name}": t for name, t in state.items()}, "netD.0.weight": torch.ones(1)}
    },
    "half precision": lambda state: {name: tensor.half() for name, tensor in state.items()},
    "parameters": lambda state: {name: nn.Parameter(tensor) for name, tensor in state.items()},
}


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("build", [authors.EdsrPytorch, authors.EdsrBasicsr, authors.EsrganOld])
def test_wrappers_and_prefixes_are_taken_off(name, build, tmp_path):
    network = made(lambda: build(2))
    reach = BYTES if build is authors.EdsrPytorch else UNIT
    loaded = load_model(saved(network, tmp_path / "net.pth", wrapped=WRAPPERS[name]))
    bound = 2.0 if name == "half precision" else 1e-3
    assert worst_pixel(network, loaded, reach) < bound


def refused(state, given=None):
    with pytest.raises(CheckpointError) as caught:
        recognise(find(state), given)
    return str(caught.value)


def test_networks_that_are_not_here_are_told_by_name():
    assert "MSRResNet, SRResNet without batch normalisation" in refused(authors.MsrResnet().state_dict())
    assert "conv_first.weight is (8, 12, 3, 3), expected (8, 3, 3, 3): it is BasicSR's RRDBNet for x2" in refused(
        authors.RrdbBasicsr(inputs=12).state_dict()
    )


def test_of_an_unknown_network_the_nearest_is_named_with_its_first_key():
    state = {name.replace("conv_after_body", "fusion"): t for name, t in authors.EdsrBasicsr(2).state_dict().items()}
    said = refused(state)
    assert "the nearest is BasicSR's EDSR" in said
    assert "conv_after_body.weight is absent" in said
    assert "(8, 3, 3, 3)" not in said
    said = refused({"features.0.weight": torch.ones(2, 3), "features.0.bias": torch.ones(2)})
    assert "holds no network that is known here (its first tensor is features.0.bias (2,))" in said


@pytest.mark.parametrize("rgb_range", [1, 255])
def test_another_order_of_colours_is_refused(rgb_range):
    network = authors.EdsrPytorch(2, rgb_range=rgb_range, mean=authors.MEAN[::-1])
    said = refused(network.state_dict())
    assert "sub_mean.bias is (-" in said
    assert "colours are in the order BGR, expected RGB, (-114.4, -111.5, -103)" in said
    exchanged = authors.EdsrPytorch(2).state_dict()
    exchanged["add_mean.weight"] = exchanged["add_mean.weight"].flip(0)
    assert "add_mean.bias is (114.4, 111.5, 103): its colours are in the order BGR" in refused(exchanged)


def test_another_mean_colour_is_refused_and_one_without_is_divkks():
    imagenet = authors.EdsrPytorch(2, mean=(0.485, 0.456, 0.406)).state_dict()
    assert "expected DIV2K's mean colour" in refused(imagenet)
    scaled = authors.EdsrPytorch(2).state_dict()
    scaled["sub_mean.weight"] = scaled["sub_mean.weight"] / 0.3
    assert "expected the identity" in refused(scaled)
    half = {name: tensor for name, tensor in authors.EdsrPytorch(2).state_dict().items() if "add_mean" not in name}
    assert "expected both for one" in refused(half)
    without = {name: tensor for name, tensor in half.items() if "sub_mean" not in name}
    assert recognise(without).scale == 2


@pytest.mark.parametrize(
    ("build", "given", "said"),
    [
        (authors.EdsrPytorch, Given(scale=3), "tail.0.0.weight is (32, 8, 3, 3), edsr x3 has (72, 8, 3, 3)"),
        (authors.EdsrPytorch, Given(model="srresnet"), "head.0.weight is (8, 3, 3, 3), srresnet x2 has (32, 3, 9, 9)"),
        (authors.EsrganOld, Given(scale=4), "upsampler.1.weight is absent, rrdb x4 has (8, 8, 3, 3)"),
        (authors.WdsrJiahui, Given(model="edsr"), "head.0.weight is absent, edsr x2 has (32, 3, 3, 3)"),
    ],
)
def test_what_is_given_must_fit(build, given, said, tmp_path):
    network = build(2, "a") if build is authors.WdsrJiahui else build(2)
    path = saved(network, tmp_path / "net.pt")
    with pytest.raises(CheckpointError) as caught:
        load_model(path, given)
    wanted = f"{given.model or ''} x{given.scale or 2}".strip()
    assert f"and not {wanted}" in str(caught.value) or f" {wanted}: " in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("tensor", [torch.ones(8).to_sparse(), torch.ones(8) * 1j], ids=["sparse", "complex"])
def test_tensors_that_are_not_dense_numbers_are_refused(tensor):
    state = {**authors.EdsrPytorch(2).state_dict(), "head.0.bias": tensor}
    assert "head.0.bias is quantised, sparse or complex" in refused(state)


@pytest.mark.parametrize("wrong", [3, [1], {}, {"epoch": 3}, {"state_dict": {}}, {"a": torch.ones(1)}])
def test_what_holds_no_state_dict_is_refused(wrong):
    assert "expected a state dict" in refused(wrong)


def test_a_layer_too_many_or_too_few_and_a_wrong_shape_are_told_by_the_files_names(tmp_path):
    def said(change):
        state = authors.EdsrPytorch(4, blocks=2).state_dict()
        change(state)
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "net.pt")
        with pytest.raises(CheckpointError) as caught:
            load_model(tmp_path / "net.pt")
        return str(caught.value).partition("net.pt: ")[2]

    assert said(lambda s: s.pop("body.1.body.2.bias")) == "body.1.body.2.bias is absent, edsr x4 has (8,)"
    assert said(lambda s: s.pop("body.2.weight")) == "body.2.weight is absent, edsr x4 has (8, 8, 3, 3)"
    assert said(lambda s: s.update({"body.9.weight": torch.ones(2)})).startswith(
        "body.9.weight is (2,), edsr x4 has no"
    )
    assert said(lambda s: s.update({"head.0.weight": torch.ones(8, 1, 3, 3)})) == (
        "head.0.weight is (8, 1, 3, 3), edsr x4 has (8, 3, 3, 3)"
    )
    assert "holds NaN or infinity" in said(lambda s: s["tail.1.bias"].fill_(torch.nan))
    assert said(lambda s: s["head.0.bias"].fill_(torch.inf)).startswith("head.0.bias holds NaN or infinity")
    assert "tail.0.0.weight (16, 8, 3, 3)" in said(lambda s: s.update({"tail.0.0.weight": torch.ones(16, 8, 3, 3)}))
