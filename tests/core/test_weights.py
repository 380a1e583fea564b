"""Weights in and out: single files, directories, runs; whatever is damaged or foreign is one sentence."""

import argparse
import collections
import dataclasses
import json
import os
import warnings
import zipfile

import authors
import numpy as np
import pytest
import safetensors.torch
import torch
from photos import noise
from torch import nn

from sr_core import models
from sr_core.__main__ import main
from sr_core.data.images import read_rgb, write_png
from sr_core.errors import CheckpointError, ConfigError, SrError
from sr_core.models.card import Card
from sr_core.models.layouts.reading import Given
from sr_core.train import weights
from sr_core.train.exchange import export_model, given_by, import_model, interpolate
from sr_core.train.weights import load_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
X = 255 * torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(1))
SMALL = {
    "srcnn": {},
    "edsr": {"num_blocks": 2, "num_features": 8},
    "wdsr_a": {"num_blocks": 2, "num_features": 8},
    "wdsr_b": {"num_blocks": 2, "num_features": 10},
    "srresnet": {"num_blocks": 2, "num_features": 8},
    "rrdb": {"num_blocks": 1, "num_features": 8, "num_growth": 4},
}


def card_of(name, scale=2, **changes):
    fields = {"model": name, "preset": "small", "options": SMALL[name], "scale": scale}
    return Card(**{**fields, **changes})


def made(name, seed=0, scale=2):
    torch.manual_seed(seed)
    network = models.build(name, scale=scale, preset="small", options=SMALL[name])
    network.train()(X)  # batch normalisation has seen something
    return network.eval()


def model_directory(path, name="edsr", seed=0, scale=2, **changes):
    save_model(path, made(name, seed, scale).state_dict(), card_of(name, scale, **changes), {})
    return path


@torch.no_grad()
def output(network):
    return network(X)


def said_of(path, given=None):
    with pytest.raises(CheckpointError) as caught:
        load_model(path, given)
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


@pytest.mark.parametrize("name", SMALL)
def test_a_single_file_gives_the_same_outputs_and_holds_its_card(name, tmp_path):
    directory = model_directory(tmp_path / "model", name, dataset="sample", run="r", step=7, valid_psnr=30.5)
    card = export_model(directory, tmp_path / "out" / "net.safetensors")
    loaded = load_model(tmp_path / "out" / "net.safetensors")
    assert loaded.card == card
    assert (card.dataset, card.run, card.step, card.valid_psnr) == ("sample", "r", 7, 30.5)
    before, after = output(load_model(directory).network), output(loaded.network)
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


def test_weight_normalisation_is_fused_on_export(tmp_path):
    export_model(model_directory(tmp_path / "model", "wdsr_a"), tmp_path / "net.safetensors")
    names = set(safetensors.torch.load_file(tmp_path / "net.safetensors"))
    assert {"head.weight", "head.bias"} <= names
    assert not any("weight_g" in name or "weight_v" in name for name in names)
    assert load_model(tmp_path / "net.safetensors").card.options["weight_norm"] is False


def test_what_was_exported_can_be_imported_and_exported_again(tmp_path):
    first = export_model(model_directory(tmp_path / "model"), tmp_path / "a.safetensors")
    import_model(tmp_path / "a.safetensors", tmp_path / "again", Given())
    assert export_model(tmp_path / "again", tmp_path / "b.safetensors").weights_sha256 == first.weights_sha256


def test_a_run_directory_means_its_best_weights(tmp_path):
    from sr_core.train import checkpoint

    run = tmp_path / "run"
    manifest = checkpoint.Manifest(
        step=4, precision="float32", num_threads=1, world_size=1, torch_version="2", best_psnr=30.0, best_step=2
    )
    checkpoint.save(run / "checkpoints", {"a": torch.ones(1)}, manifest, keep=2)
    model_directory(run / "best" / "step-00000002", seed=1)
    model_directory(run / "best" / "step-00000004", seed=2)
    assert torch.equal(output(load_model(run).network), output(made("edsr", 1)))
    nothing = dataclasses.replace(manifest, step=5, best_step=None, best_psnr=None)
    checkpoint.save(run / "checkpoints", {"a": torch.ones(1)}, nothing, keep=2)
    assert "has no best weights yet" in said_of(run)


def test_imported_weights_have_a_card_with_their_origin(tmp_path):
    network = authors.WdsrYchfan(3).eval()
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "epoch_30.pth")
    loaded = import_model(tmp_path / "epoch_30.pth", tmp_path / "model", Given())
    again = load_model(tmp_path / "model")
    assert again.card == loaded.card
    assert (again.card.origin.file, again.card.origin.names) == ("epoch_30.pth", "ychfan's WDSR")
    assert len(again.card.origin.sha256) == 64 != again.card.weights_sha256
    assert "authors" in again.card.licence
    assert (again.card.step, again.card.data_digest, again.card.valid_psnr) == (0, "unknown", None)
    assert torch.equal(output(again.network), output(load_model(tmp_path / "epoch_30.pth").network))


def test_an_authors_safetensors_is_read_too(tmp_path):
    network = authors.EdsrPytorch(2).eval()
    safetensors.torch.save_file(network.state_dict(), tmp_path / "edsr.safetensors")
    loaded = load_model(tmp_path / "edsr.safetensors")
    assert loaded.card.origin.names == "EDSR-PyTorch's EDSR"
    with torch.no_grad():
        assert (loaded.network(X) - network(X)).abs().max() < 1e-3


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_trainers_save_beside_the_weights_does_not_stop_a_file(is_zip, tmp_path):
    beside = {
        "best": np.float64(31.5),
        "loss": np.float32(0.5),
        "step": np.int64(300),
        "milestones": collections.Counter({3: 1}),
        "args": argparse.Namespace(scale=[2], lr=1e-4),
        "generator": None,
    }
    state = authors.EdsrPytorch(2).state_dict()
    torch.save({**beside, "model": state}, tmp_path / "n.pt", _use_new_zipfile_serialization=is_zip)
    assert load_model(tmp_path / "n.pt").card.scale == 2


class Harmless(nn.Module):
    """A module, which a pickle names: reading it imports code."""


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("is_zip", [True, False])
def test_pickles_are_refused_and_nothing_in_them_runs(is_zip, tmp_path):
    path = tmp_path / "net.pth"
    torch.save(Harmless(), path, _use_new_zipfile_serialization=is_zip)
    assert "pickle that needs test_weights.Harmless and could run code" in said_of(path)
    torch.save({"state_dict": {"a.b": Attack(str(tmp_path / "made"))}}, path, _use_new_zipfile_serialization=is_zip)
    assert "could run code when it is read, expected tensors alone" in said_of(path)
    assert not (tmp_path / "made").exists()


def test_torchscript_and_bare_values_are_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "net.pt"))
    assert "pickle that is TorchScript" in said_of(tmp_path / "net.pt")
    torch.save([1, 2], tmp_path / "net.pt")
    assert "holds list, expected a state dict" in said_of(tmp_path / "net.pt")
    torch.save({"epoch": 3, "psnr": 30.0}, tmp_path / "net.pt")
    assert "holds a mapping with 'epoch', 'psnr', expected a state dict" in said_of(tmp_path / "net.pt")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", "old.pth"])
def test_a_truncated_file_is_one_sentence(suffix, tmp_path):
    state = authors.EdsrPytorch(2).state_dict()
    path = tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization="old" not in suffix)
    whole = path.read_bytes()
    for share in (0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999):
        path.write_bytes(whole[: max(int(share * len(whole)), 3)])
        said = said_of(path)
        assert "truncated or damaged" in said or "cannot be read" in said, (share, said)
        assert "could run code" not in said


def test_what_is_no_weight_file_is_one_sentence(tmp_path):
    def said(name, data):
        (tmp_path / name).write_bytes(data)
        return said_of(tmp_path / name)

    assert "is empty" in said("a.pth", b"")
    assert "is a web page" in said("b.pth", b"\n<!DOCTYPE html><html>")
    assert "begins with b'version '" in said("c.pth", b"version https://git-lfs.github.com/spec/v1\n")
    assert "is not a weight file, expected one that ends in .safetensors" in said("d.png", b"\x89PNG")
    assert "cannot be read (No such file or directory)" in said_of(tmp_path / "absent.pth")
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "torn.pth")
    whole = (tmp_path / "torn.pth").read_bytes()
    (tmp_path / "torn.pth").write_bytes(whole.replace(b"PK\x01\x02", b"PK\x09\x09", 1))  # of its directory
    assert "truncated or damaged" in said_of(tmp_path / "torn.pth")
    with zipfile.ZipFile(tmp_path / "wdsr_x2.pth", "w") as archive:
        archive.writestr("wdsr_x2/epoch_30.pth", b"x")
    assert "is a zip archive around wdsr_x2/epoch_30.pth; unpack it" in said_of(tmp_path / "wdsr_x2.pth")
    for seed in range(20):
        noisy = b"\x80\x02" + np.random.default_rng(seed).bytes(400)
        assert "truncated or damaged" in said("e.pth", noisy) or "could run code" in said("e.pth", noisy)


def test_a_flipped_bit_in_a_single_file_is_found(tmp_path):
    path = tmp_path / "net.safetensors"
    export_model(model_directory(tmp_path / "model"), path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert "its tensors' sha256 is" in said_of(path)
    assert "its card says" in said_of(path)


def rewritten(path, **changes):
    """The card in a model directory, changed."""
    values = {**json.loads((path / "card.json").read_text()), **changes}
    (path / "card.json").write_text(json.dumps(values))
    return path


def test_a_card_that_does_not_belong_to_its_weights_is_refused(tmp_path):
    def said(**changes):
        path = rewritten(model_directory(tmp_path / "model"), **changes)
        with pytest.raises(SrError) as caught:
            load_model(path)
        return str(caught.value)

    assert "its card says 0000" in said(weights_sha256="0" * 64)
    assert "upsampler.0.weight is (32, 8, 3, 3), edsr x3 has (72, 8, 3, 3)" in said(scale=3)
    assert "rrdb x2 has" in said(model="rrdb", options=SMALL["rrdb"])
    assert "is of a network for BGR images, expected RGB" in said(colours="BGR")
    assert "has scale 5, expected 2, 3, 4 or 8" in said(scale=5)
    assert "of another version (9, expected 1)" in said(version=9)
    assert "scale: is 'x2', expected int" in said(scale="x2")
    assert "surprise: no such field" in said(surprise=1)
    assert "origin.file: is missing" in said(origin={"sha256": "a", "names": "b"})
    assert "parents[0]: is 3, expected Parent" in said(parents=[3])
    assert "model.name: no such name 'edrs'; did you mean edsr?" in said(model="edrs")


def test_every_wrong_field_of_a_card_is_listed(tmp_path):
    path = rewritten(model_directory(tmp_path / "model"), scale=2.5, step="7", run=None)
    (path / "card.json").write_text((path / "card.json").read_text().replace('"model": "edsr", ', ""))
    with pytest.raises(CheckpointError, match="is not a model card, 4 wrong:") as caught:
        load_model(path)
    assert str(caught.value).count("\n  ") == 4


def test_nan_in_our_own_weights_is_refused(tmp_path):
    network = made("edsr")
    with torch.no_grad():
        network.tail.bias[0] = torch.nan
    save_model(tmp_path / "model", network.state_dict(), card_of("edsr"), {})
    with pytest.raises(CheckpointError, match=r"tail\.bias holds NaN or infinity"):
        load_model(tmp_path / "model")


def test_interpolation_is_a_weighted_sum_and_its_card_says_of_what(tmp_path):
    first, second = (model_directory(tmp_path / name, "srresnet", seed) for seed, name in enumerate("ab"))
    card = interpolate(first, second, 0.8, tmp_path / "between")
    one, other, found = (load_model(path).network.state_dict() for path in (first, second, tmp_path / "between"))
    for name, tensor in found.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.2 * one[name] + 0.8 * other[name])
    assert [round(parent.weight, 9) for parent in card.parents] == [0.2, 0.8]
    shas = [load_model(path).card.weights_sha256 for path in (first, second)]
    assert [parent.weights_sha256 for parent in load_model(tmp_path / "between").card.parents] == shas
    for alpha, same in ((0.0, first), (1.0, second)):
        interpolate(first, second, alpha, tmp_path / f"at {alpha}")
        assert torch.equal(output(load_model(tmp_path / f"at {alpha}").network), output(load_model(same).network))


def test_networks_that_differ_are_not_interpolated(tmp_path):
    edsr = model_directory(tmp_path / "edsr")
    x3 = model_directory(tmp_path / "x3", scale=3)
    damped = model_directory(tmp_path / "damped", options={**SMALL["edsr"], "res_scale": 0.5})
    with pytest.raises(CheckpointError, match=r"upsampler\.0\.weight is \(72, 8, 3, 3\), the first, edsr x2, has \(32"):
        interpolate(edsr, x3, 0.5, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"the second network has res_scale 0\.5, the first 1\.0"):
        interpolate(edsr, damped, 0.5, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"alpha is 1\.5, expected a number from 0"):
        interpolate(edsr, edsr, 1.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_replaced_unasked(tmp_path):
    edsr = model_directory(tmp_path / "edsr")
    own = tmp_path / "photographs"
    own.mkdir()
    (own / "a.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(SrError, match="exists and is no model directory"):
            import_model(edsr, own, Given(), overwrite=overwrite)
    with pytest.raises(SrError, match="holds a model already"):
        interpolate(edsr, edsr, 0.5, edsr)
    with pytest.raises(SrError, match=r"expected a name that ends in \.safetensors"):
        export_model(edsr, tmp_path / "net.pth")
    export_model(edsr, tmp_path / "net.safetensors")
    with pytest.raises(SrError, match="exists already"):
        export_model(edsr, tmp_path / "net.safetensors")
    export_model(edsr, tmp_path / "net.safetensors", overwrite=True)
    assert (own / "a.txt").read_text() == "mine"


def test_what_is_given_is_read_as_overrides_are():
    given = given_by(["model.options.res_scale=1e-1", "data.scale=3", "model.name=esrgan"])
    assert given == Given(model="esrgan", scale=3, options={"res_scale": 0.1})
    for wrong in ("train.steps=3", "model.preset=small", "model=3", "data.scale=x4", "model.options=3"):
        with pytest.raises(ConfigError, match="a weight file is known by"):
            given_by([wrong])


def test_what_has_a_card_takes_nothing_given(tmp_path):
    edsr = model_directory(tmp_path / "edsr")
    with pytest.raises(ConfigError, match="has a card that says all of its network; leave out --set"):
        load_model(edsr, Given(scale=2))


def test_the_verbs(tmp_path, capsys):
    torch.save(authors.EdsrPytorch(2).state_dict(), tmp_path / "edsr.pt")
    first, second, out = (str(tmp_path / name) for name in ("first", "second", "edsr.safetensors"))
    assert main(["import", str(tmp_path / "edsr.pt"), "--output", first]) == 0
    said = capsys.readouterr().out
    assert "edsr x2 by the names of EDSR-PyTorch's EDSR" in said
    assert "model.options.res_scale is not in the file: taken as 1.0" in said
    torch.save(authors.EdsrPytorch(2).state_dict(), tmp_path / "edsr.pt")
    option = ["--set", "model.options.res_scale=1"]
    assert main(["import", str(tmp_path / "edsr.pt"), "--output", second, *option]) == 0
    assert "res_scale" not in capsys.readouterr().out
    assert main(["interpolate", first, second, "--alpha", "0.8", "--output", str(tmp_path / "both")]) == 0
    assert "0.2 edsr" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "both"), "--output", out]) == 0
    write_png(tmp_path / "photo.png", noise(8, 9))
    for model in (out, str(tmp_path / "edsr.pt"), first):
        assert main(["upscale", str(tmp_path / "photo.png"), "--model", model, "--output", f"{model}.d"]) == 0
        assert read_rgb(tmp_path / f"{model}.d" / "photo-x2.png").shape == (16, 18, 3)
    (tmp_path / "edsr.pt").write_bytes(b"")
    assert main(["import", str(tmp_path / "edsr.pt"), "--output", str(tmp_path / "new")]) == CheckpointError.exit_code
    assert capsys.readouterr().err.startswith(f"import: {tmp_path / 'edsr.pt'}: is empty")
    assert weights.digits_of(tmp_path / "first") == load_model(tmp_path / "first").card.weights_sha256[:8]
