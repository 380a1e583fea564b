"""Tiled equals untiled, and memory that runs out."""

import numpy as np
import pytest
import torch
from torch import nn

from sr_core.errors import ConfigError, SrError
from sr_core.models import build
from sr_core.upscale import SMALLEST_TILE, Box, cut, upscale, upscale_float

CLOSE = 1e-4 * 255  # the promise, on a 0..255 scale


class Nearest(nn.Module):
    """Repeats pixels, and keeps a list of the windows it was shown."""

    receptive_field = 0

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.windows: list[tuple[int, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.windows.append((x.shape[-2], x.shape[-1]))
        return x.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)


class Hungry(Nearest):
    """Fails, as `error` says, on every window of more than `most` pixels."""

    def __init__(self, most: int, error: Exception, *, after: int = 0) -> None:
        super().__init__()
        self.most, self.error, self.after = most, error, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-2] * x.shape[-1] > self.most and len(self.windows) >= self.after:
            raise self.error
        return super().forward(x)


class Said:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.lines: list[str] = []
        self.done = 0

    def start(self, label: str, total: int | None = None) -> None:
        self.totals.append(total)

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def say(self, text: str) -> None:
        self.lines.append(text)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def edsr(scale: int) -> nn.Module:
    """An untrained network whose far neighbours matter: PyTorch's initialisation all but cuts them off."""
    torch.manual_seed(scale)
    network = build("edsr", scale=scale, preset="small", options={"num_blocks": 2, "num_features": 8})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.5 if parameter.dim() == 4 else 1.0)
    return network.eval()


def untiled(network: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        batch = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        return network(batch)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("height", "width", "tile"),
    [
        (50, 37, 16),  # no side is a multiple of the tile
        (48, 48, 16),  # both are
        (23, 61, 7),  # a tile smaller than its context
        (12, 9, 16),  # an image smaller than a tile
        (1, 40, 8),
        (40, 1, 8),
        (1, 1, 8),
        (7, 9, 1),
    ],
)
@pytest.mark.parametrize("name", ["edsr", "bicubic"])
def test_tiled_equals_untiled(name: str, scale: int, height: int, width: int, tile: int) -> None:
    network = edsr(scale) if name == "edsr" else build("bicubic", scale=scale, preset="small", options={})
    image = noise(height, width)
    expected = untiled(network, image)
    tiled = upscale_float(network, image, tile=tile, precision="float32")
    assert tiled.shape == (height * scale, width * scale, 3)
    assert np.abs(tiled - expected).max() <= CLOSE
    rounded = upscale(network, image, tile=tile, precision="float32")
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - expected.clip(0, 255)).max() <= 0.5 + CLOSE


def test_a_pixel_of_context_too_few_would_be_seen() -> None:
    """The test above can fail: the stated receptive field is needed in full."""
    network, image = edsr(4), noise(50, 37)
    network.receptive_field -= 1
    tiled = upscale_float(network, image, tile=16, precision="float32")
    assert np.abs(tiled - untiled(network, image)).max() > CLOSE


@pytest.mark.parametrize(("height", "width", "tile"), [(10, 10, 4), (7, 1, 3), (5, 90, 16), (3, 3, 9), (100, 100, 33)])
def test_tiles_cover_every_pixel_once_and_are_even(height: int, width: int, tile: int) -> None:
    seen = np.zeros((height, width), int)
    boxes = cut(Box(top=0, left=0, bottom=height, right=width), tile)
    for box in boxes:
        seen[box.slices()] += 1
        assert box.longest <= tile
    assert (seen == 1).all()
    heights = {box.bottom - box.top for box in boxes}
    assert max(heights) - min(heights) <= 1


def test_memory_is_bounded_by_tile_and_context() -> None:
    network = Nearest()
    network.receptive_field = 3
    upscale(network, noise(40, 70), tile=10)
    assert max(max(window) for window in network.windows) <= 10 + 2 * 3
    assert len(network.windows) == 4 * 7


def test_rounds_half_up_and_clips() -> None:
    class Shifted(Nearest):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 1.5 - 1

    image = np.array([[[0, 1, 2], [3, 200, 255]]], np.uint8)  # -1, 0.5, 2; 3.5, 299, 381.5
    assert upscale(Shifted(scale=1), image).tolist() == [[[0, 1, 2], [4, 255, 255]]]


def test_a_read_only_image_is_fine() -> None:
    image = noise(8, 8)
    image.flags.writeable = False
    assert (upscale(Nearest(), image) == image.repeat(2, 0).repeat(2, 1)).all()


def test_the_networks_mode_and_gradients_are_left_alone() -> None:
    network = nn.Sequential(Nearest(), nn.Dropout(0.9)).train()
    network.scale, network.receptive_field = 2, 0
    image = noise(6, 6)
    assert (upscale(network, image) == image.repeat(2, 0).repeat(2, 1)).all()  # dropout was off
    assert network.training
    assert torch.is_grad_enabled()


def test_upscaling_leaves_no_trace_that_would_forbid_training() -> None:
    for network in (build("bicubic", scale=2, preset="small", options={}), edsr(2)):
        upscale(network, noise(9, 9))
        image = torch.rand(1, 3, 9, 9, requires_grad=True)
        network(image).sum().backward()
        assert image.grad is not None


def test_a_result_that_is_too_large_is_one_sentence() -> None:
    endless = np.lib.stride_tricks.as_strided(np.zeros(3, np.uint8), (2**24, 2**24, 3), (0, 0, 0))
    with pytest.raises(SrError, match="does not suffice for a result of 33554432x33554432 pixels"):
        upscale(Nearest(), endless)


def test_bf16_is_close_and_the_output_is_whole() -> None:
    network, image = edsr(4), noise(30, 30)
    exact = upscale_float(network, image, precision="float32")
    rough = upscale_float(network, image, precision="bf16", tile=16)
    assert 0 < np.abs(rough - exact).mean() < 0.02 * np.abs(exact).mean()


def test_a_tile_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="tile: is 0, expected 1 or more"):
        upscale(Nearest(), noise(4, 4), tile=0)


@pytest.mark.parametrize("allowed", [True, False])
def test_float32_is_not_tf32_and_the_setting_is_put_back(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Looking(Nearest):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(x)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    upscale(Looking(), noise(4, 4), precision="float32")
    upscale(Looking(), noise(4, 4), precision="bf16")
    assert seen == [False, allowed]
    assert torch.backends.cudnn.allow_tf32 == allowed


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: f"{type(error).__name__}-{str(error)[:10]}")
def test_out_of_memory_halves_the_tile(error: Exception) -> None:
    network, image, said = Hungry(24 * 24, error), noise(130, 90), Said()
    result = upscale(network, image, tile=128, progress=said)
    assert (result == image.repeat(2, 0).repeat(2, 1)).all()
    # two tiles of 65 x 90, then of 33 x 45 or less, then of 17 x 22 or so
    assert max(max(window) for window in network.windows) <= 23
    assert [line.split("tiles of ")[1] for line in said.lines] == ["45 pixels", "22 pixels"]
    assert said.totals == [2, 8, 8 * 6]
    assert said.done == len(network.windows) == said.totals[-1]


def test_what_was_done_before_memory_ran_out_is_kept() -> None:
    """Another process may take the memory in the middle of a large image."""
    network, image = Hungry(20 * 20, OUT_OF_MEMORY[0], after=10), noise(160, 128)
    result = upscale(network, image, tile=32)
    assert (result == image.repeat(2, 0).repeat(2, 1)).all()
    assert network.windows[:10] == [(32, 32)] * 10
    assert network.windows[10:] == [(16, 16)] * 4 * 10
    assert sum(height * width for height, width in network.windows) == 160 * 128  # nothing twice


def test_when_the_smallest_tile_fails_it_says_so() -> None:
    network = Hungry(SMALLEST_TILE, OUT_OF_MEMORY[2])
    with pytest.raises(SrError, match=r"does not suffice on cpu even for a tile of 16 pixels: ") as caught:
        upscale(network, noise(64, 64))
    assert caught.value.__cause__ is None
    assert network.windows == []


def test_any_other_error_is_not_taken_for_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        upscale(Hungry(4, RuntimeError("mat1 and mat2 shapes cannot be multiplied")), noise(8, 8))
