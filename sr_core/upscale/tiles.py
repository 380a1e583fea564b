"""Images of any size through a network, in bounded memory.

The image is cut into tiles, each is read with `receptive_field` pixels of context (`tile_overlap`, where a network
has that), and only what that context makes exact is kept: in float32 the result is that of the whole image at once,
borders included, because a tile at the image's border ends where the image ends and sees the same padding. Where
memory runs out the tile is halved, and only what is not done yet is cut again: nothing is pasted twice.

Shapes: H W LR size, S scale.
"""

import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core.errors import ConfigError, SrError
from sr_core.precision import autocast, resolve
from sr_core.progress import QUIET, Progress
from sr_core.upscale.boxes import Box, cut
from sr_core.upscale.halves import halves
from sr_core.upscale.memory import SMALLEST_TILE, tile_for
from sr_core.upscale.settings import AnyPrecision, Settings
from sr_core.upscale.work import Work

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")  # CUDA and MPS, CPU, cuDNN


def upscale(
    network: nn.Module,
    image: NDArray[np.uint8],
    *,
    device: torch.device | None = None,
    precision: AnyPrecision = "auto",
    tile: int | None = None,
    memory_bytes: int | None = None,
    ensemble: bool = False,
    progress: Progress = QUIET,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB -> (S*H, S*W, 3) uint8, rounded half up and clipped.

    `network` is one of sr_core.models or has their interface, and is moved to `device` if one is given. `tile` is in
    LR pixels; None: what `memory_bytes` allow. `ensemble`: the mean over the 8 symmetries of the square.

    Raises:
        SrError: the device has not even memory for the smallest tile.
    """
    settings = Settings(precision=precision, tile=tile, memory_bytes=memory_bytes, ensemble=ensemble)
    return enlarge(network, image, settings, dtype=np.uint8, device=device, progress=progress)


def upscale_float(
    network: nn.Module,
    image: NDArray[np.uint8],
    *,
    device: torch.device | None = None,
    precision: AnyPrecision = "auto",
    tile: int | None = None,
    memory_bytes: int | None = None,
    ensemble: bool = False,
    progress: Progress = QUIET,
) -> NDArray[np.float32]:
    """As `upscale`, but float32 in about 0..255, neither rounded nor clipped."""
    settings = Settings(precision=precision, tile=tile, memory_bytes=memory_bytes, ensemble=ensemble)
    return enlarge(network, image, settings, dtype=np.float32, device=device, progress=progress)


def enlarge(
    network: nn.Module,
    pixels: NDArray[Any],
    settings: Settings,
    *,
    dtype: Any,
    num_channels: int = 3,
    device: torch.device | None = None,
    progress: Progress = QUIET,
) -> NDArray[Any]:
    """(H, W, 3) uint8 or uint16 -> (S*H, S*W, C) of `dtype`: uint8, uint16, or float32 in about 0..255.

    Of one channel, it is the mean of the network's three. Where the settings have both a tile and `memory_bytes`, the
    smaller of the two tiles is taken.

    Raises:
        SrError: as `upscale`.
    """
    if settings.tile is not None and settings.tile < 1:
        raise ConfigError(f"tile: is {settings.tile}, expected 1 or more LR pixels")
    out = _empty(network, pixels, num_channels, dtype)
    place = device or device_of(network)
    precision = resolve(settings.precision, place)
    network = network if device is None else network.to(device)
    side = settings.tile
    if side is None or settings.memory_bytes is not None:
        side = min(side or sys.maxsize, tile_for(network, precision, settings.memory_bytes))
    with _evaluating(network), autocast(place, precision), _without_tf32(precision):
        ready = halves(network, precision, place)
        _fill(Work(halves=ready, image=pixels, out=out, device=place, ensemble=settings.ensemble), side, progress)
    return out


def _empty(network: nn.Module, pixels: NDArray[Any], num_channels: int, dtype: Any) -> NDArray[Any]:
    scale: Any = network.scale
    height, width = pixels.shape[0] * scale, pixels.shape[1] * scale
    try:
        return np.empty((height, width, num_channels), dtype)
    except MemoryError:
        raise SrError(f"memory does not suffice for a result of {width}x{height} pixels; take a part of it") from None


def _fill(work: Work, side: int, progress: Progress) -> None:
    """Tile after tile."""
    height, width = work.image.shape[:2]
    pending = deque(cut(Box(top=0, left=0, bottom=height, right=width), side))
    label = f"upscale {width}x{height} by {work.halves.scale}"
    progress.start(label, len(pending))
    while pending:
        box = pending[0]
        left = _left_of(work, box)
        if not left:
            pending.popleft()
            progress.advance()
            continue
        smaller = _smaller(box, work.device)
        remaining = (*left, *itertools.islice(pending, 1, None))
        pending = deque(piece for one in remaining for piece in cut(one, smaller))
        progress.say(f"memory does not suffice on {work.device}: going on with tiles of {smaller} pixels")
        progress.start(label, len(pending))


def _left_of(work: Work, box: Box) -> list[Box]:
    """Enlarges `box`; returns the parts of it that memory did not suffice for."""
    left = [box]
    try:
        work.enlarge(box, left)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
    # only here, after the handler, is the traceback gone that kept the failed tile's tensors alive
    if left and work.device.type == "cuda":
        torch.cuda.empty_cache()
    return left


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
