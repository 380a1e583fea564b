"""Images of any size through a network, in bounded memory.

The image is cut into tiles, each is read with `receptive_field` pixels of context, and only what that context
makes exact is kept: in float32 the result is that of the whole image at once, borders included, because a tile at
the image's border ends where the image ends and sees the same padding. Where memory runs out the tile is halved,
and only the tiles not done yet are cut again: nothing is computed or pasted twice.

Shapes: H W LR size, S scale.
"""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core.errors import ConfigError, SrError
from sr_core.precision import autocast, resolve
from sr_core.progress import QUIET, Progress

# Side in LR pixels. With its context one such tile took EDSR x4 0.4 GB (small), 1.1 GB (baseline; both in float32) and
# 3.8 GB (full, bf16); smaller tiles were not faster on CPU, and every tile computes its context anew
TILE = 256
SMALLEST_TILE = 16  # below it the context is all that is left

AnyPrecision = Literal["auto", "bf16", "float32"]
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")  # CUDA and MPS, CPU, cuDNN


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle of pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def longest(self) -> int:
        """The longer side."""
        return max(self.bottom - self.top, self.right - self.left)

    def slices(self, scale: int = 1) -> tuple[slice, slice]:
        """The indices of this box in an image enlarged by `scale`."""
        return slice(self.top * scale, self.bottom * scale), slice(self.left * scale, self.right * scale)


def cut(box: Box, tile: int) -> list[Box]:
    """`box` as boxes of about equal size that are at most `tile` wide and high, row by row."""
    return [
        Box(top=top, left=left, bottom=bottom, right=right)
        for top, bottom in _spans(box.top, box.bottom, tile)
        for left, right in _spans(box.left, box.right, tile)
    ]


def _spans(start: int, stop: int, most: int) -> list[tuple[int, int]]:
    length = stop - start
    num = -(-length // most)
    return [(start + length * i // num, start + length * (i + 1) // num) for i in range(num)]


def upscale(
    network: nn.Module,
    image: NDArray[np.uint8],
    *,
    device: torch.device | None = None,
    precision: AnyPrecision = "auto",
    tile: int | None = None,
    progress: Progress = QUIET,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB -> (S*H, S*W, 3) uint8, rounded half up and clipped.

    `network` is one of sr_core.models, moved to `device` if one is given; `tile` is in LR pixels.

    Raises:
        SrError: the device has not even memory for the smallest tile.
    """
    out = _empty(network, image, np.uint8)
    _fill(out, network, image, device, precision, tile, progress)
    return out


def upscale_float(
    network: nn.Module,
    image: NDArray[np.uint8],
    *,
    device: torch.device | None = None,
    precision: AnyPrecision = "auto",
    tile: int | None = None,
    progress: Progress = QUIET,
) -> NDArray[np.float32]:
    """As `upscale`, but float32 in about 0..255, neither rounded nor clipped."""
    out = _empty(network, image, np.float32)
    _fill(out, network, image, device, precision, tile, progress)
    return out


def _empty(network: nn.Module, image: NDArray[np.uint8], dtype: type[Any]) -> NDArray[Any]:
    scale: Any = network.scale
    height, width = image.shape[0] * scale, image.shape[1] * scale
    try:
        return np.empty((height, width, 3), dtype)
    except MemoryError:
        raise SrError(f"memory does not suffice for a result of {width}x{height} pixels; take a part of it") from None


def _fill(
    out: NDArray[Any],
    network: nn.Module,
    image: NDArray[np.uint8],
    device: torch.device | None,
    precision: AnyPrecision,
    tile: int | None,
    progress: Progress,
) -> None:
    """Tile after tile into `out`."""
    if tile is not None and tile < 1:
        raise ConfigError(f"tile: is {tile}, expected 1 or more LR pixels")
    place = device or device_of(network)
    scale: Any = network.scale
    height, width = image.shape[:2]
    pending = deque(cut(Box(top=0, left=0, bottom=height, right=width), tile or TILE))
    label = f"upscale {width}x{height} by {scale}"
    progress.start(label, len(pending))
    chosen = resolve(precision, place)
    with _evaluating(network if device is None else network.to(device)), autocast(place, chosen), _without_tf32(chosen):
        while pending:
            enlarged = _run_or_none(network, image, pending[0], place, out.dtype)
            if enlarged is not None:
                out[pending.popleft().slices(scale)] = enlarged
                progress.advance()
                continue
            smaller = _smaller(pending[0], place)
            pending = deque(piece for box in pending for piece in cut(box, smaller))
            progress.say(f"memory does not suffice on {place}: going on with tiles of {smaller} pixels")
            progress.start(label, len(pending))


def _run_or_none(
    network: nn.Module, image: NDArray[np.uint8], box: Box, device: torch.device, dtype: np.dtype[Any]
) -> NDArray[Any] | None:
    """The enlarged box, or None if memory ran out."""
    try:
        return _run(network, image, box, device, dtype)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
    # only here, after the handler, is the traceback gone that kept the failed tile's tensors alive
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


@torch.inference_mode()
def _run(
    network: nn.Module, image: NDArray[np.uint8], box: Box, device: torch.device, dtype: np.dtype[Any]
) -> NDArray[Any]:
    scale: Any = network.scale
    context: Any = network.receptive_field
    top, left = max(box.top - context, 0), max(box.left - context, 0)
    window = image[top : box.bottom + context, left : box.right + context]  # a slice ends where the image ends
    # (h, w, 3) -> (1, 3, h, w): seen this way the bytes already lie in channels_last order; copied, as a read-only
    # array cannot be a tensor
    batch = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].to(device).float()
    rows, columns = Box(
        top=box.top - top, left=box.left - left, bottom=box.bottom - top, right=box.right - left
    ).slices(scale)
    kept = network(batch)[0, :, rows, columns].permute(1, 2, 0)  # (1, 3, S*h, S*w) -> (S*H', S*W', 3)
    if dtype == np.uint8:
        kept = kept.clamp(0, 255).add(0.5).to(torch.uint8)
    enlarged: NDArray[Any] = kept.cpu().numpy()
    return enlarged


def _smaller(box: Box, device: torch.device) -> int:
    """The tile to go on with after `box` did not fit."""
    if box.longest <= SMALLEST_TILE:
        raise SrError(
            f"memory does not suffice on {device} even for a tile of {box.longest} pixels: end what else uses it, or "
            "take a smaller network or another device"
        )
    return max(box.longest // 2, SMALLEST_TILE)


def device_of(network: nn.Module) -> torch.device:
    """Where `network` is; the CPU for one without parameters."""
    tensors = (*network.parameters(), *network.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def fastest_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """`network` in eval mode; a network found in training mode is put back."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


@contextlib.contextmanager
def _without_tf32(precision: str) -> Iterator[None]:
    """float32 meant as such: left alone, convolutions on CUDA compute in TF32, whose mantissa has 10 bits."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed and precision != "float32"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
