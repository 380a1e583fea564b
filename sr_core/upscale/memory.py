"""How large a tile may be: the side that a budget of memory allows a network.

A network says how many numbers it holds at once for each LR pixel, while it encodes and while it decodes (its
`encode_values` and `decode_values`). One that says nothing is taken for an EDSR baseline that computes in float32.

Shapes: F features, S scale.
"""

import math
from typing import Any

import torch
from torch import nn

from sr_core.models.composed import ComposedTail
from sr_core.precision import Precision

MEMORY_BYTES = 3 * 2**28  # the default budget, beside the picture, its result and the network: 0.75 GiB
DECODE_BYTES = {"cpu": 2**26, "cuda": 2**29}  # what decode's boxes may take: on a CPU what a cache is not too small for
SMALLEST_TILE = 16  # below it the context is all that is left
TILE = 256  # the most for networks without an encoder, whose every tile holds HR features, or matrices of its length
MARGIN = 1.25  # convolutions have memory of their own beside what they read and write
_OF_UNKNOWN = 4 * 64 * 4  # bytes for each HR pixel
_IMAGE_VALUES = 2 * 3 * 2  # of the tile in float32, and of its copy in the network's range, in units of bf16


def tile_for(network: nn.Module, precision: Precision, memory_bytes: int | None = None) -> int:
    """The side in LR pixels of the tiles in which `network` stays within `memory_bytes` (None: MEMORY_BYTES).

    A multiple of 16, and SMALLEST_TILE where not even that fits.
    """
    known: Any = network
    budget = memory_bytes or MEMORY_BYTES
    overlap: int = getattr(network, "tile_overlap", known.receptive_field)
    if hasattr(network, "encode_values"):
        free = budget - DECODE_BYTES["cpu"]
        pixels = free / (_bytes(precision) * (known.encode_values + _IMAGE_VALUES) * MARGIN)
        side = math.isqrt(max(int(pixels), 0)) - 2 * overlap
    elif hasattr(network, "decode_values"):
        side = min(_side(network, precision, min(budget, DECODE_BYTES["cpu"])) - 2 * overlap, TILE)
    else:
        side = min(_side(network, precision, budget) - 2 * overlap, TILE)
    return max(side // SMALLEST_TILE, 1) * SMALLEST_TILE


def decode_side(network: nn.Module, precision: Precision, place: torch.device) -> int:
    """The side of the boxes in which the network decodes what it has encoded."""
    known: Any = network
    side = _side(network, precision, DECODE_BYTES.get(place.type, DECODE_BYTES["cuda"]))
    return int(max(side - 2 * known.decode_reach, SMALLEST_TILE))


def inner_side(tail: ComposedTail, place: torch.device) -> int:
    """The side of the boxes for a tail that came to one convolution: large, as it holds little."""
    budget = DECODE_BYTES.get(place.type, DECODE_BYTES["cuda"])
    return max(math.isqrt(int(budget / (4 * tail.float32_values * MARGIN))) - 2 * tail.reach, SMALLEST_TILE)


def _side(network: nn.Module, precision: Precision, budget: int) -> int:
    """Of the square whose pixels decoding has memory for."""
    known: Any = network
    values = getattr(network, "decode_values", None)
    of_pixel = _OF_UNKNOWN * known.scale**2 if values is None else _bytes(precision) * values
    return math.isqrt(int(budget / (of_pixel * MARGIN)))


def _bytes(precision: Precision) -> int:
    return 2 if precision == "bf16" else 4
