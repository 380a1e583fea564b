"""Images of any size through a network, in bounded memory.

The image is cut into tiles, each is read with `receptive_field` pixels of context, and only what that context
makes exact is kept: in float32 the result is that of the whole image at once, borders included, because a tile at
the image's border ends where the image ends and sees the same padding. Where memory runs out the tile is halved,
and only the tiles not done yet are cut again: nothing is computed or pasted twice.

Shapes: H W LR size, S scale.
"""

import contextlib
import itertools
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
from sr_core.upscale.boxes import Box, cut
from sr_core.upscale.halves import halves
from sr_core.upscale.memory import SMALLEST_TILE, tile_for
from sr_core.upscale.work import Work

AnyPrecision = Literal["auto", "bf16", "float32"]
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
    out = _empty(network, image, np.uint8)
    _fill(out, network, image, device, precision, tile, memory_bytes, ensemble, progress)
    return out


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
    out = _empty(network, image, np.float32)
    _fill(out, network, image, device, precision, tile, memory_bytes, ensemble, progress)
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
    image: NDArray[Any],
    device: torch.device | None,
    precision: AnyPrecision,
    tile: int | None,
    memory_bytes: int | None,
    ensemble: bool,
    progress: Progress,
) -> None:
    """Tile after tile into `out`."""
    if tile is not None and tile < 1:
        raise ConfigError(f"tile: is {tile}, expected 1 or more LR pixels")
    place = device or device_of(network)
    height, width = image.shape[:2]
    chosen = resolve(precision, place)
    with _evaluating(network if device is None else network.to(device)), autocast(place, chosen), _without_tf32(chosen):
        work = Work(halves=halves(network, chosen, place), image=image, out=out, device=place, ensemble=ensemble)
        pending = deque(
            cut(Box(top=0, left=0, bottom=height, right=width), tile or tile_for(network, chosen, memory_bytes))
        )
        label = f"upscale {width}x{height} by {work.halves.scale}"
        progress.start(label, len(pending))
        while pending:
            box = pending[0]
            left = _left_of(work, box)
            if not left:
                pending.popleft()
                progress.advance()
                continue
            smaller = _smaller(box, place)
            pending = deque(
                piece for one in (*left, *itertools.islice(pending, 1, None)) for piece in cut(one, smaller)
            )
            progress.say(f"memory does not suffice on {place}: going on with tiles of {smaller} pixels")
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
