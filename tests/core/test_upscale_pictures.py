"""Whole pictures: grey, alpha, 16 bits, the mean over the symmetries, and what settings and cards change."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from sr_core.data.pictures import Picture
from sr_core.models import build
from sr_core.models.card import Card
from sr_core.upscale import (
    Settings,
    boxes,
    settings_of,
    settled,
    tile_for,
    tiles,
    upscale,
    upscale_float,
    upscale_picture,
)
from sr_core.upscale.boxes import SYMMETRIES, Box, frame, turned

CLOSE = 1e-4 * 255


def noise(height, width, channels=3, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def edsr(scale=2, **options):
    torch.manual_seed(0)
    options = {"num_blocks": 1, "num_features": 8, "global_skip": "bicubic"} | options
    return build("edsr", scale=scale, preset="small", options=options).eval()


def test_colour_is_what_upscale_gives_and_the_rest_is_passed_on():
    picture = Picture(pixels=noise(21, 34), icc=b"profile", exif=b"exif")
    settings = Settings(precision="float32", tile=9)
    enlarged = upscale_picture(edsr(), picture, settings)
    assert (enlarged.pixels == upscale(edsr(), picture.pixels, precision="float32", tile=9)).all()
    assert (enlarged.icc, enlarged.exif, enlarged.alpha) == (b"profile", b"exif", None)


def test_grey_is_the_mean_of_the_networks_three():
    picture = Picture(pixels=noise(21, 34, 1))
    enlarged = upscale_picture(edsr(), picture, Settings(precision="float32"))
    colours = upscale_float(edsr(), picture.pixels.repeat(3, 2), precision="float32")
    assert enlarged.pixels.shape == (42, 68, 1)
    assert np.abs(enlarged.pixels[:, :, 0] - colours.mean(2).clip(0, 255)).max() <= 0.5 + CLOSE
    assert np.ptp(colours, axis=2).max() > 1  # or any of the three would do


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_enlarged_by_itself(dtype):
    most = np.iinfo(dtype).max
    opaque = Picture(pixels=noise(19, 23, 3, dtype), alpha=np.full((19, 23), most, dtype))
    enlarged = upscale_picture(edsr(), opaque)
    assert (enlarged.alpha.dtype, enlarged.alpha.shape) == (dtype, (38, 46))
    assert (enlarged.alpha == most).all()
    half = dataclasses.replace(opaque, alpha=np.where(np.arange(23) < 12, most, 0).astype(dtype)[None].repeat(19, 0))
    enlarged = upscale_picture(edsr(), half, Settings(precision="bf16"))
    assert (enlarged.alpha[:, :20] == most).all()
    assert (enlarged.alpha[:, 30:] == 0).all()
    assert (enlarged.pixels == upscale_picture(edsr(), opaque, Settings(precision="bf16")).pixels).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_computed_in_float32_whatever_the_card_says(channels):
    pixels = noise(20, 31, channels, np.uint16)
    enlarged = upscale_picture(edsr(), Picture(pixels=pixels), Settings(precision="bf16", tile=8)).pixels
    x = torch.from_numpy(pixels.astype(np.float32) / 257).expand(-1, -1, 3).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = edsr()(x)[0].permute(1, 2, 0).numpy() * 257
    expected = expected.mean(2, keepdims=True) if channels == 1 else expected
    assert (enlarged.dtype, enlarged.shape) == (np.uint16, (40, 62, channels))
    assert np.abs(enlarged - expected.clip(0, 65535)).max() <= 0.5 + CLOSE * 257
    assert len(np.unique(enlarged % 257)) == 257  # more than 8 bits


def test_the_ensemble_is_the_mean_over_the_symmetries_and_tiled():
    network, image = edsr(num_blocks=2), noise(21, 34)
    total = 0.0
    for quarters in range(4):
        for is_mirrored in (False, True):
            given = np.rot90(np.fliplr(image) if is_mirrored else image, quarters)
            back = np.rot90(upscale_float(network, given, precision="float32"), -quarters)
            total = total + (np.fliplr(back) if is_mirrored else back)
    for tile in (9, 100):
        result = upscale_float(network, image, precision="float32", tile=tile, ensemble=True)
        assert np.abs(result - total / 8).max() <= CLOSE
    assert np.abs(result - upscale_float(network, image, precision="float32")).max() > 1


def test_boxes_turn_as_images_do():
    image, box = noise(7, 11), Box(top=1, left=2, bottom=4, right=9)
    for symmetry in SYMMETRIES:
        of_box = turned(image, symmetry)[box.turned(symmetry, 7, 11).slices()]
        assert (of_box == turned(image[box.slices()], symmetry)).all()
    assert len({turned(image, symmetry).tobytes() for symmetry in SYMMETRIES}) == boxes.QUARTERS * 2


def test_a_frame_is_what_lies_around():
    outer = Box(top=0, left=0, bottom=8, right=9)
    for inner in (Box(top=2, left=3, bottom=5, right=7), Box(top=0, left=3, bottom=8, right=9), outer):
        seen = np.zeros((8, 9), int)
        for box in (*frame(outer, inner), inner):
            seen[box.slices()] += 1
        assert (seen == 1).all()


class Plain(nn.Module):
    """A network that offers nothing but the interface: ONNX, or somebody's own."""

    def __init__(self):
        super().__init__()
        self.scale, self.receptive_field = 2, 3
        self.conv = nn.Conv2d(3, 12, 7, padding=3)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.conv(x), 2).float()


def test_a_network_of_any_kind_is_tiled():
    torch.manual_seed(0)
    network, picture = Plain(), Picture(pixels=noise(30, 41))
    whole = upscale_picture(network, picture, Settings(precision="float32", tile=64)).pixels
    tiled = upscale_picture(network, picture, Settings(precision="float32", tile=8)).pixels
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert 16 <= tile_for(network, "float32") <= 256


def test_memory_takes_the_smaller_tile(monkeypatch):
    asked = []
    real = tiles.cut
    monkeypatch.setattr(tiles, "cut", lambda box, side: asked.append(side) or real(box, side))
    network, image = edsr(), noise(8, 8)
    for settings in (
        Settings(tile=48),
        Settings(tile=48, memory_bytes=2**40),
        Settings(memory_bytes=2**28, precision="float32"),
        Settings(tile=10**6, memory_bytes=2**28, precision="float32"),
    ):
        upscale_picture(network, Picture(pixels=image), settings)
    upscale_picture(network, Picture(pixels=image.astype(np.uint16)), Settings(tile=10**6, precision="bf16"))
    budget = tile_for(network, "float32", 2**28)
    assert asked == [48, 48, budget, budget, tile_for(network, "float32")]
    assert tile_for(network, "float32", 1) == 16 < budget < tile_for(network, "bf16", 2**28)


def test_the_cards_pixels_do_not_depend_on_the_machine(monkeypatch):
    """A card that was settled elsewhere is done as it says."""
    card = settled(Card(model="edsr", preset="small", options={}, scale=2, precision="bf16"), edsr())
    picture = Picture(pixels=noise(40, 30))
    here = upscale_picture(edsr(), picture, settings_of(card)).pixels
    monkeypatch.setattr("sr_core.precision._cpu_flags", set)  # bf16 is slow now
    assert (upscale_picture(edsr(), picture, settings_of(card)).pixels == here).all()
    assert (upscale_picture(edsr(), picture, Settings(precision="float32")).pixels != here).any()
    again = upscale_picture(edsr(), picture, settings_of(card)).pixels
    assert (again == here).all()


MEASURED = """
import sys
from pathlib import Path
import numpy as np
import torch
from sr_core.models import build
from sr_core.upscale import tile_for, upscale

def kb(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

budget = int(sys.argv[2])
network = build(sys.argv[1], scale=2, preset="small", options={}).eval()
side = tile_for(network, "float32", budget)
image = np.full((side, side, 3), 9, np.uint8)
upscale(network, image[:20, :20], precision="float32")
Path("/proc/self/clear_refs").write_text("5")
start = kb("VmRSS")
out = upscale(network, image, precision="float32", tile=side)
print(1024 * (kb("VmHWM") - start) - out.nbytes)
"""


@pytest.mark.parametrize("name", ["edsr", "wdsr_b", "srcnn"])
def test_a_tile_stays_within_the_budget(name):
    budget = 100 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, name, str(budget)], capture_output=True, text=True, check=True
    )
    taken = int(done.stdout)
    assert taken <= budget
    assert taken >= budget / 10  # or it was not measured
