"""Images of any size and kind through a network, in bounded memory: what every way to use a model calls.

tiles.py        (H, W, 3) uint8 through a network, tile by tile
memory.py       the tile that a budget of memory allows
pictures.py     whole pictures: grey, alpha and 16 bits kept; how, from the model's card
"""

from sr_core.upscale.pictures import Settings, settings_of, settled, upscale_picture
from sr_core.upscale.tiles import (
    SMALLEST_TILE,
    TILE,
    AnyPrecision,
    Box,
    cut,
    device_of,
    fastest_device,
    upscale,
    upscale_float,
)

__all__ = [
    "SMALLEST_TILE",
    "TILE",
    "AnyPrecision",
    "Box",
    "Settings",
    "cut",
    "device_of",
    "fastest_device",
    "settings_of",
    "settled",
    "upscale",
    "upscale_float",
    "upscale_picture",
]
