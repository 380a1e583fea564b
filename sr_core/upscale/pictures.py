"""A whole picture through a network: grey stays grey, alpha is enlarged by itself, 16 bits stay 16.

How it is computed (number format, tile) comes from the model's card and not from the machine, so that the command, the
Python call, MLflow, REST, the web page and the registry's copies give the same pixels.

Shapes: H W LR size, C channels (1 grey, 3 RGB), S scale.
"""

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sr_core.data.pictures import Picture
from sr_core.models.card import Card
from sr_core.models.interpolation import Bicubic
from sr_core.precision import resolve
from sr_core.progress import QUIET, Progress
from sr_core.upscale.memory import MEMORY_BYTES, tile_for
from sr_core.upscale.settings import Settings
from sr_core.upscale.tiles import enlarge


def settings_of(card: Card) -> Settings:
    """What the card says of how its network is used.

    A card that says bf16 means it on a CPU that computes bf16 slowly too: the pixels are the card's. Whoever wants them
    in another format replaces `precision`.
    """
    precision: Any = card.precision  # checked when the card was read
    return Settings(precision=precision, tile=card.tile)


def settled(card: Card, network: nn.Module) -> Card:
    """`card` with precision and tile where it had none: what this machine does fast, and the default budget's tile.

    Written down when a model is published, imported or exported, so that it gives the same pixels wherever it goes.
    """
    precision = resolve(settings_of(card).precision, torch.device("cpu"))
    return dataclasses.replace(card, precision=precision, tile=card.tile or tile_for(network, precision))


def upscale_picture(
    network: nn.Module,
    picture: Picture,
    settings: Settings | None = None,
    *,
    device: torch.device | None = None,
    progress: Progress = QUIET,
) -> Picture:
    """(H, W, C) -> (S*H, S*W, C) of the same type, with its alpha, profile and EXIF.

    A grey picture goes through the network as three equal channels, and the mean of its three is the grey one. Alpha is
    enlarged by bicubic interpolation in float32: what is opaque stays opaque. 16 bits are computed in float32 whatever
    the settings say, as bf16 has 8.

    Raises:
        SrError: the device has not even memory for the smallest tile.
    """
    settings = settings or Settings()
    if picture.pixels.dtype == np.uint16:
        settings = _in_float32(settings)
    num_channels, kind = picture.pixels.shape[2], picture.pixels.dtype
    pixels = enlarge(
        network,
        _as_rgb(picture.pixels),
        settings,
        dtype=kind,
        num_channels=num_channels,
        device=device,
        progress=progress,
    )
    alpha = None
    if picture.alpha is not None:
        scale: Any = network.scale
        flat = _as_rgb(picture.alpha[:, :, None])
        alpha = enlarge(Bicubic(scale), flat, Settings(precision="float32"), dtype=kind, num_channels=1)[:, :, 0]
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha)


def _in_float32(settings: Settings) -> Settings:
    """`settings` in float32, whose tile stays within the budget that a tile for bf16 was made for."""
    memory_bytes = settings.memory_bytes or MEMORY_BYTES
    return dataclasses.replace(settings, precision="float32", memory_bytes=memory_bytes)


def _as_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 1) -> (H, W, 3), a view."""
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
