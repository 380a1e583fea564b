"""ONNX files used as models: the same pixels, and a sentence for everything that cannot be used."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import foreign_onnx as foreign
import numpy as np
import onnx as library
import pytest
import torch
from onnx import helper

from flows import cli
from serving.exchange import export, onnx, onnx_file, onnx_foreign
from serving.models import open_any
from sr_core import models
from sr_core.data.pictures import Picture, encode_picture, read_picture
from sr_core.errors import CheckpointError, ConfigError, SrError
from sr_core.models.card import Card
from sr_core.train import weights
from sr_core.upscale import settings_of, upscale_float, upscale_picture
from sr_core.upscale.memory import tile_for

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"num_blocks": 2, "num_features": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory."""
    torch.manual_seed(0)
    network = models.build("edsr", scale=3, preset="small", options=OPTIONS | {"global_skip": "bicubic"})
    card = Card(model="edsr", preset="small", options=OPTIONS | {"global_skip": "bicubic"}, scale=3, valid_psnr=30.5)
    directory = tmp_path_factory.mktemp("models") / "edsr-x3"
    weights.save_model(directory, network.state_dict(), card, {})
    return directory


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "edsr.onnx"
    export.export_onnx(str(model), path)
    return path


def picture(kind, height=53, width=37):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (height, width, 1 if kind == "grey" else 3), dtype=np.uint8)
    alpha = random.integers(0, 256, (height, width), dtype=np.uint8) if kind == "alpha" else None
    return Picture(pixels=pixels, alpha=alpha)


@pytest.mark.parametrize("kind", ["rgb", "alpha", "grey"])
def test_the_pixels_are_pytorchs_to_a_level(model, exported, kind):
    own, other = weights.load_model(model), open_any(str(exported))
    assert (other.card.precision, other.network.scale) == ("float32", 3)
    assert other.network.receptive_field == own.network.receptive_field
    settings = dataclasses.replace(settings_of(other.card), tile=16)  # 4 x 3 tiles
    wanted, found = (upscale_picture(each.network, picture(kind), settings) for each in (own, other))
    assert found.pixels.shape == (53 * 3, 37 * 3, 1 if kind == "grey" else 3)
    assert np.abs(found.pixels.astype(int) - wanted.pixels).max() <= 1
    assert (found.alpha is None) == (wanted.alpha is None)
    assert found.alpha is None or np.array_equal(found.alpha, wanted.alpha)


@pytest.mark.parametrize("kind", ["rgb", "alpha", "grey"])
def test_the_commands_pixels_are_pytorchs_to_a_level(model, exported, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(encode_picture(picture(kind), "png"))
    command = ["upscale", "photo.png", "--tile", "16"]
    assert cli.main([*command, "--model", str(exported), "--output", "onnx.png"]) == 0
    assert cli.main([*command, "--model", str(model), "--precision", "float32", "--output", "torch.png"]) == 0
    found, wanted = (read_picture(Path(name)) for name in ("onnx.png", "torch.png"))
    assert found.pixels.shape == wanted.pixels.shape == (53 * 3, 37 * 3, 1 if kind == "grey" else 3)
    assert np.abs(found.pixels.astype(int) - wanted.pixels).max() <= 1
    assert (found.alpha is None) == (wanted.alpha is None) == (kind != "alpha")
    assert found.alpha is None or np.array_equal(found.alpha, wanted.alpha)


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from serving.exchange import onnx
from sr_core.upscale import upscale
from sr_core.progress import Progress
network = onnx.load(Path(sys.argv[1])).network
image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
wanted = upscale(network, image, tile=64, precision="float32")
taken = next(line for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (1024 * int(taken.split()[1]) + 100 * 2**20,) * 2)
class Said(Progress):
    def say(self, text):
        print(text)
assert np.array_equal(upscale(network, image, tile=500, precision="float32", progress=Said()), wanted)
"""


def test_where_memory_does_not_suffice_tiles_are_halved(exported):
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(exported)]
    child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert child.returncode == 0, child.stderr
    assert "memory does not suffice on cpu: going on with tiles of 250 pixels" in child.stdout


def test_the_documents_ten_lines_give_the_commands_pixels(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(exported, "edsr.onnx")
    Path("photo.png").write_bytes(encode_picture(picture("rgb"), "png"))
    code = re.search(r"```python\n(import numpy.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)[1]
    assert code.count("\n") <= 11
    exec(code, {})
    assert cli.main(["upscale", "photo.png", "--model", "edsr.onnx", "--output", "command.png"]) == 0
    found, wanted = (read_picture(Path(name)).pixels for name in ("enlarged.png", "command.png"))
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_tiles_are_the_whole_image(exported):
    network = open_any(str(exported)).network
    pixels = picture("rgb").pixels
    tiled, whole = (upscale_float(network, pixels, tile=tile, precision="float32") for tile in (16, 64))
    assert np.abs(tiled - whole).max() / 255 <= 1e-4


def test_card_and_origin_are_in_the_file(model, exported):
    card = onnx.load(exported).card
    assert (card.model, card.valid_psnr, card.precision) == ("edsr", 30.5, "float32")
    assert card.weights_sha256 == weights.read_card(model).weights_sha256
    text = {entry.key: entry.value for entry in library.load(exported).metadata_props}
    assert text[onnx_file.MADE_FROM] == card.weights_sha256
    assert set(text) == {onnx_file.CARD, onnx_file.MADE_FROM, onnx_file.FACTS, onnx_file.DIGEST}


def test_it_says_what_tiles_are_chosen_by(model, exported, tmp_path):
    own, other = weights.load_model(model).network, onnx.load(exported).network
    assert other.num_parameters == sum(parameter.numel() for parameter in own.parameters())
    # 9 pixels of 8 features before the shuffle, copied, and after it; at its end the deep features may go
    assert 3 * 8 * 9 <= other.decode_values <= 3 * 8 * 9 + 3 * 9 + 2 * 8
    assert onnx.load(exported).card.tile == tile_for(other, "float32")
    assert onnx.load(foreign.clipped(tmp_path / "x.onnx", 1), say=lambda _: None).card.tile >= 16


def test_it_computes_with_torchs_threads(exported):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert onnx.load(exported).network._session.get_session_options().intra_op_num_threads == 3
    finally:
        torch.set_num_threads(before)


def test_a_batch_is_as_its_images(exported):
    network = onnx.load(exported).network
    batch = torch.rand(3, 3, 9, 8) * 255
    torch.testing.assert_close(network(batch), torch.cat([network(one[None]) for one in batch]), rtol=0, atol=1e-3)


def damaged(exported):
    """Every kind of damage by name."""
    data = exported.read_bytes()
    step = max(len(data) // 40, 1)
    for position in range(3, len(data), step):
        yield f"a flipped bit at {position}", data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
    for size in (1, 7, 100, len(data) // 2, len(data) - 90, len(data) - 1):
        yield f"{size} bytes", data[:size]
    yield "more bytes", data + b"\x00"
    yield "another PSNR", data.replace(b"30.5", b"39.5")
    yield "empty", b""
    yield "a web page", b"\n<!DOCTYPE html><html>not found</html>"
    yield "zeros", bytes(3000)
    for seed in range(5):
        yield f"random bytes {seed}", np.random.default_rng(seed).bytes(3000)


def test_every_damage_is_a_sentence(exported, tmp_path):
    path = tmp_path / "damaged.onnx"
    for what, data in damaged(exported):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=rf"^{path}: .*$") as caught:
            pytest.fail(f"{what}: {onnx.load(path)}")
        assert "\n" not in str(caught.value), what


def test_a_file_that_is_not_there_or_too_large_is_a_sentence(tmp_path):
    with pytest.raises(CheckpointError, match=r"x\.onnx: cannot be read \(No such file"):
        open_any(str(tmp_path / "x.onnx"))
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory"):
        onnx.load(tmp_path)
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(CheckpointError, match=r"has 3\.0 GB, but an ONNX file has at most 2"):
        onnx.load(tmp_path / "huge.onnx")


def test_without_onnxruntime_the_extra_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SrError, match=r"^onnxruntime is not installed: pip install .*\[onnx\]"):
        open_any(str(exported))


@pytest.mark.parametrize("white", [1, 255])
def test_a_foreign_network_is_measured(tmp_path, white, capsys):
    path = foreign.clipped(tmp_path / "x.onnx", white)
    loaded = onnx.load(path)
    assert (loaded.card.scale, loaded.network.facts.white) == (2, white)
    assert loaded.network.receptive_field == 2 + onnx_foreign.MARGIN
    assert f"white is {white}" in capsys.readouterr().err
    assert loaded.card.origin.file == "x.onnx"
    pixels = picture("rgb").pixels
    found, whole = (upscale_float(loaded.network, pixels, tile=tile) for tile in (16, 64))
    assert found.min() >= 0
    assert 200 < found.max() <= 255.01
    assert np.abs(found - whole).max() / 255 <= 1e-4


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_its_scale_is_found(tmp_path, scale):
    assert onnx.load(foreign.clipped(tmp_path / "x.onnx", 1, scale=scale), say=lambda _: None).card.scale == scale


def test_how_far_it_sees_is_found(tmp_path):
    path = foreign.bent(tmp_path / "x.onnx", convolutions=6)
    network = onnx.load(path, white=1, say=lambda _: None).network
    assert 5 <= network.receptive_field - onnx_foreign.MARGIN <= 6


def test_what_does_not_look_like_its_image_has_to_be_explained(tmp_path):
    nodes, given = foreign.enlarging(target="raw")
    nodes.append(helper.make_node("Add", ["raw", "much"], ["y"]))
    path = foreign.write(tmp_path / "x.onnx", nodes, {**given, "much": np.float32(300)})
    with pytest.raises(CheckpointError, match=r"whether white is 1 or 255 .* sr export onnx .* --white 1 "):
        onnx.load(path)
    copy = tmp_path / "copy.onnx"
    made = export.export_onnx(str(path), copy, white=255)
    assert made.difference == 0
    assert onnx.load(copy).network.facts.white == 255
    with pytest.raises(ConfigError, match="says itself what white is"):
        onnx.load(copy, white=1)


def with_shape(path, **given):
    nodes, filters = foreign.enlarging()
    return foreign.write(path, nodes, filters, **given)


def test_what_is_no_such_network_is_a_sentence(tmp_path):
    path, (nodes, filters) = tmp_path / "x.onnx", foreign.enlarging()
    average = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Mul", ["mean", "little"], ["some"]),
        helper.make_node("Add", ["some", "x"], ["sum"]),
    ]
    whole, little = [*average, *foreign.enlarging(source="sum")[0]], {"little": np.float32(0.02)}
    nothing = [helper.make_node("Identity", ["x"], ["y"])]
    undefined = [*foreign.enlarging(target="raw")[0], helper.make_node("Div", ["raw", "none"], ["y"])]
    cases = {
        r"takes images of shape \['n', 3, 224, 224\], expected": lambda: with_shape(path, shape=("n", 3, 224, 224)),
        r"takes images of shape \['n', 1, ": lambda: with_shape(path, shape=("n", 1, "h", "w")),
        r"x is tensor\(uint8\)": lambda: foreign.write(
            path, [helper.make_node("Cast", ["x"], ["f"], to=1), *foreign.enlarging(source="f")[0]], filters, kind=2
        ),
        "has 2 outputs, expected": lambda: foreign.write(path, nodes, filters, outputs=("y", "phases")),
        "enlarges by 1, expected 2, 3, 4, 8": lambda: foreign.write(path, nothing, {}, scale=1),
        "a pixel of its result depends on more than": lambda: foreign.write(path, whole, filters | little),
        "gives NaN or infinity": lambda: foreign.write(path, undefined, filters | {"none": np.float32(0)}),
        "onnxruntime does not take it": lambda: foreign.write(
            path, [helper.make_node("Conv", ["x", "absent"], ["y"])], {}
        ),
    }
    for message, write in cases.items():
        write()
        with pytest.raises(CheckpointError, match=message) as caught:
            onnx.load(path, say=lambda _: None)
        assert "\n" not in str(caught.value)


def test_weights_in_another_file_are_used_where_they_are_and_missed_where_not(tmp_path):
    path = foreign.clipped(tmp_path / "x.onnx", 1)
    library.save(library.load(path), path, save_as_external_data=True, location="x.data", size_threshold=0)
    copy = tmp_path / "copy.onnx"
    export.export_onnx(str(path), copy)
    (tmp_path / "x.data").unlink()
    with pytest.raises(CheckpointError, match=r"onnxruntime does not take it .*x\.data"):
        onnx.load(path)
    assert onnx.load(copy).network.facts.white == 1  # a copy has them inside


def test_one_image_at_a_time_will_do(tmp_path):
    path = foreign.clipped(tmp_path / "x.onnx", 255, shape=(1, 3, "h", "w"))
    assert onnx.load(path, say=lambda _: None).network(torch.zeros(3, 3, 5, 6)).shape == (3, 3, 10, 12)
