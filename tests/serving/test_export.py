"""Networks as ONNX and as files of torch.export: the same numbers at any size."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from flows import cli
from serving.exchange import export
from serving.exchange.graph import OPSET, onnx_bytes, torch_bytes, traced
from serving.exchange.plain import plain
from sr_core import models
from sr_core.errors import SrError
from sr_core.models.card import Card
from sr_core.train import weights

ROOT = Path(__file__).resolve().parents[2]
ONE_SCALE = {  # srgan and esrgan are srresnet and rrdb; the slow test has every network at every scale
    "nearest": 3,
    "bilinear": 8,
    "bicubic": 2,
    "lanczos": 4,
    "srcnn": 3,
    "edsr": 8,
    "wdsr_a": 2,
    "wdsr_b": 3,
    "srresnet": 4,
    "rrdb": 2,
}

LARGE = [(name, preset) for name in ONE_SCALE for preset in models.MODELS[name].presets if preset != "small"]


def saved(folder, name, scale, preset="small", **options):
    """A model directory with random weights that all count: also those that begin at zero."""
    torch.manual_seed(0)
    network = models.build(name, scale=scale, preset=preset, options=options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-3)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.2)
    card = Card(model=name, preset=preset, options=options, scale=scale)
    weights.save_model(folder / f"{name}-x{scale}", network.state_dict(), card, {})
    return folder / f"{name}-x{scale}"


def given(folder, name, scale, preset="small"):
    return str(saved(folder, name, scale, preset)) if models.MODELS[name].is_trainable else name


def test_every_network_is_tested():
    assert {models.MODELS[name].build for name in ONE_SCALE} == {entry.build for entry in models.MODELS.values()}


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_plain_network_is_the_same_function(name, scale):
    if scale not in models.MODELS[name].scales:
        return
    torch.manual_seed(0)
    network = models.build(name, scale=scale, preset="small", options={}).eval().requires_grad_(False)
    for image in export.images():
        torch.testing.assert_close(plain(network)(image), network(image), rtol=0, atol=1e-3)


def check_onnx(path, directory, name, scale):
    """What a user without this project sees in the file."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    network = weights.open_model(directory, scale).network
    with torch.inference_mode():
        for image in export.images():
            (out,) = session.run(None, {"image": image.numpy()})
            assert np.abs(out - network(image).numpy()).max() / 255 <= 1e-4, (name, scale, image.shape)


@pytest.mark.parametrize(("name", "scale"), ONE_SCALE.items())
def test_onnxruntime_gives_pytorchs_numbers(tmp_path, name, scale):
    model = given(tmp_path, name, scale)
    made = export.export_onnx(model, tmp_path / "x.onnx", scale=scale)
    assert made.difference <= export.TOLERANCE
    check_onnx(tmp_path / "x.onnx", model, name, scale)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), [(name, s) for name, e in models.MODELS.items() for s in e.scales])
def test_so_it_is_at_every_scale(tmp_path, name, scale):
    model = given(tmp_path, name, scale)
    export.export_onnx(model, tmp_path / "x.onnx", scale=scale)
    check_onnx(tmp_path / "x.onnx", model, name, scale)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset"), [(n, p) for n, e in models.MODELS.items() for p in e.presets if p != "small"]
)
def test_so_it_is_in_the_papers_sizes(tmp_path, name, preset):
    scale = 4
    model = given(tmp_path, name, scale, preset)
    export.export_onnx(model, tmp_path / "x.onnx")
    check_onnx(tmp_path / "x.onnx", model, name, scale)


@pytest.fixture(scope="module")
def edsr(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"), "edsr", 3, num_blocks=1, num_features=8, global_skip="bicubic")


ONCE_MORE = """
import sys
from pathlib import Path
from serving.exchange import graph
from sr_core.train.weights import load_model
network = load_model(Path(sys.argv[1])).network
for index, data in enumerate((graph.onnx_bytes(graph.traced(network)), graph.torch_bytes(graph.traced(network), {}))):
    (Path(sys.argv[2]) / str(index)).write_bytes(data)
"""


def test_the_same_network_gives_the_same_bytes_in_another_process(edsr, tmp_path):
    network = weights.load_model(edsr).network
    again = subprocess.Popen([sys.executable, "-c", ONCE_MORE, str(edsr), str(tmp_path)], cwd=ROOT)
    made = onnx_bytes(traced(network)), torch_bytes(traced(network), {})
    assert again.wait() == 0
    assert b"pkg.torch" not in made[0]  # what the exporter notes of each node
    for index, data in enumerate(made):
        assert data == (tmp_path / str(index)).read_bytes()
        for folder in (ROOT, edsr.parent, Path(torch.__file__).parents[1]):
            assert str(folder).encode() not in data


def test_a_file_that_disagrees_is_not_kept(edsr, tmp_path, monkeypatch):
    network = weights.load_model(edsr).network
    with torch.no_grad():
        network.tail.bias += 0.1  # of 255
    wrong = onnx_bytes(traced(network))
    monkeypatch.setattr(export, "onnx_bytes", lambda program: wrong)
    target = tmp_path / "x.onnx"
    with pytest.raises(SrError, match=r"x\.onnx: is not kept: at 17x23 it is 3\.9e-04 away from the network"):
        export.export_onnx(str(edsr), target)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"former")
    with pytest.raises(SrError, match="is not kept"):
        export.export_onnx(str(edsr), target, overwrite=True)
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_there_stays_unless_it_may_be_replaced(edsr, tmp_path, capsys):
    for form, suffix in (("torch", "pt2"), ("onnx", "onnx")):
        target = tmp_path / f"x.{suffix}"
        target.write_bytes(b"former")
        command = ["export", form, str(edsr), "--output", str(target)]
        assert cli.main(command) == 1
        assert capsys.readouterr().err == f"export: {target}: exists already; choose another name or add --overwrite\n"
        assert target.read_bytes() == b"former"
    assert cli.main([*command, "--overwrite"]) == 0
    said = rf"edsr x3: {target}, {target.stat().st_size / 1e6:.2f} MB in \d+\.\d s, at most [0-9]e-0[6-9] from .*\n"
    assert re.fullmatch(said, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["onnx", "bicubic", "--output", "x.pt2"], r"x\.pt2: expected a name that ends in \.onnx"),
        (["torch", "bicubic", "--output", "x.pt"], r"x\.pt: expected a name that ends in \.pt2"),
        (["onnx", "bicubic", "--output", "folder.onnx"], r"folder\.onnx: is a directory"),
        (["onnx", "absent", "--output", "x.onnx"], r"absent/card\.json: missing"),
        (["onnx", "bicubic", "--output", "x.onnx", "--white", "1"], "--white: is for ONNX files that others wrote"),
        (["onnx", "bicubic", "--output", "x.onnx", "--scale", "7"], r"data\.scale: is 7"),
        (["torch", "absent.onnx", "--output", "x.pt2"], r"absent\.onnx: cannot be read"),
    ],
)
def test_mistakes_are_sentences(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    assert cli.main(["export", *arguments]) != 0
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_what_this_command_wrote_is_not_written_again(tmp_path):
    export.export_onnx("bicubic", tmp_path / "x.onnx", scale=2)
    with pytest.raises(SrError, match="was written by this command"):
        export.export_onnx(str(tmp_path / "x.onnx"), tmp_path / "y.onnx")
    with pytest.raises(SrError, match="is an ONNX file, expected a model of PyTorch"):
        export.export_torch(str(tmp_path / "x.onnx"), tmp_path / "y.pt2")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_package_the_extra_is_named(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SrError, match=rf"^{package} is not installed: pip install .*\[onnx\]"):
        export.export_onnx("bicubic", tmp_path / "x.onnx")


WITHOUT_THE_PROJECT = """
import sys, zipfile, json
sys.modules.update(dict.fromkeys(("sr_core", "serving", "flows")))
import numpy, torch
program = torch.export.load(sys.argv[1]).module()
for height, width in ((17, 23), (1, 1), (5, 64), (64, 5), (33, 31)):
    image = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(height)) * 255
    numpy.save(f"{sys.argv[2]}/{height}x{width}.npy", program(image).detach().numpy())
"""


def check_torch(name, scale, folder):
    model = given(folder, name, scale)
    export.export_torch(model, folder / "x.pt2", scale=scale)
    command = [sys.executable, "-I", "-c", WITHOUT_THE_PROJECT, str(folder / "x.pt2"), str(folder)]
    subprocess.run(command, check=True, env={})
    network = weights.open_model(model, scale).network
    for height, width in ((17, 23), (1, 1), (5, 64), (64, 5), (33, 31)):
        image = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(height)) * 255
        found = np.load(folder / f"{height}x{width}.npy")
        assert np.abs(found - network(image).detach().numpy()).max() / 255 <= 1e-4


def test_torch_alone_loads_what_torch_export_wrote(tmp_path):
    check_torch("srcnn", 3, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), [(name, s) for name, e in models.MODELS.items() for s in e.scales])
def test_so_it_does_of_every_network_at_every_scale(name, scale, tmp_path):
    check_torch(name, scale, tmp_path)


def test_a_file_that_no_fresh_process_can_use_is_not_kept(edsr, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_IN_A_FRESH_PROCESS", "import a_package_that_nobody_has")
    with pytest.raises(SrError, match=r"^edsr: cannot be used from a file of torch\.export \(ModuleNotFoundError"):
        export.export_torch(str(edsr), tmp_path / "x.pt2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_traced_is_a_sentence():
    class Fickle(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(SrError, match=r"^Fickle: torch\.export cannot trace it \("):
        traced(Fickle())
