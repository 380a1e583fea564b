"""A whole picture through a network: grey stays grey, alpha is enlarged by itself, 16 bits stay 16.

How it is computed (number format, tile) comes from the model's card and not from the machine, so that the command, the
Python call, MLflow, REST, the web page and the registry's copies give the same pixels.

Shapes: H W LR size, C channels (1 grey, 3 RGB), S scale.
"""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from sr_core.data.pictures import Picture
from sr_core.models.card import Card
from sr_core.models.interpolation import Bicubic
from sr_core.precision import resolve
from sr_core.progress import QUIET, Progress
from sr_core.upscale.memory import tile_for
from sr_core.upscale.tiles import AnyPrecision, upscale


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a picture is enlarged."""

    precision: AnyPrecision = "auto"
    tile: int | None = None  # side in LR pixels; None: from memory_bytes
    memory_bytes: int | None = None  # what the work may take beside the picture and the network; None: the default
    ensemble: bool = False  # the mean over the 8 symmetries (EDSR+)


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

    Raises:
        SrError: the device has not even memory for the smallest tile.
    """
    settings = settings or Settings()
    rgb = np.repeat(picture.pixels, 3, axis=2) if picture.pixels.shape[2] == 1 else picture.pixels
    enlarged = upscale(network, rgb, device=device, precision=settings.precision, tile=settings.tile, progress=progress)
    alpha = None
    if picture.alpha is not None:
        scale: int = network.scale  # type: ignore[assignment]
        alpha = upscale(Bicubic(scale), np.repeat(picture.alpha[:, :, None], 3, axis=2), precision="float32")[:, :, 0]
    pixels = enlarged[:, :, :1] if picture.pixels.shape[2] == 1 else enlarged
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha)
