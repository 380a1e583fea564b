"""Images of any size and kind through a network, in bounded memory: what every way to use a model calls.

tiles.py        (H, W, 3) through a network, tile by tile, smaller ones where memory runs out
work.py         one tile: encoded at once, decoded box by box
halves.py       a network's two halves, ready for that
boxes.py        rectangles and symmetries
memory.py       the tile that a budget of memory allows
pictures.py     whole pictures: grey, alpha and 16 bits kept; how, from the model's card
"""

from sr_core.upscale.boxes import Box, cut
from sr_core.upscale.memory import MEMORY_BYTES, SMALLEST_TILE, tile_for
from sr_core.upscale.pictures import settings_of, settled, upscale_picture
from sr_core.upscale.settings import AnyPrecision, Settings
from sr_core.upscale.tiles import (
    device_of,
    fastest_device,
    upscale,
    upscale_float,
)

__all__ = [
    "MEMORY_BYTES",
    "SMALLEST_TILE",
    "AnyPrecision",
    "Box",
    "Settings",
    "cut",
    "device_of",
    "fastest_device",
    "settings_of",
    "settled",
    "tile_for",
    "upscale",
    "upscale_float",
    "upscale_picture",
]
