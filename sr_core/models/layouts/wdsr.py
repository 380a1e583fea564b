"""WDSR as its two authors publish it, with weight normalisation or fused."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from sr_core.errors import CheckpointError
from sr_core.models.layouts.reading import Given, Read, count, damping, shape_of
from sr_core.models.state_dicts import Layers


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WdsrNames:
    """{} is the number of a block, from `first` on; the tail's is the number after the last block's."""

    head: str
    block: str
    tail: str
    skip: str
    normalisation: str
    first: int = 0


JIAHUIYU = WdsrNames(head="head.0", block="body.{}.body", tail="tail.0", skip="skip.0", normalisation="div2k")
YCHFAN = WdsrNames(head="body.0", block="body.{}.body", tail="body.{}", skip="skip.0", normalisation="half", first=1)
YCHFAN_BY_NAME = WdsrNames(head="head", block="body.{}.body", tail="tail", skip="skip", normalisation="half")


def read_by(names: WdsrNames) -> Callable[[Layers, Given], Read]:
    """A reader of this network by `names`."""

    def read(layers: Layers, given: Given) -> Read:
        num_blocks = count(layers, f"{names.block}.0", names.first)
        features = shape_of(layers, names.head)[0]
        tail = names.tail.format(names.first + num_blocks)
        if tail not in layers:
            raise CheckpointError(f"lacks {tail}, the convolution after the last of {num_blocks} blocks")
        renamed = {names.head: "head", tail: "tail", names.skip: "skip"}
        for i in range(num_blocks):
            block = names.block.format(names.first + i)
            renamed |= {f"{block}.{place}": f"body.{i}.conv{k}" for k, place in enumerate((0, 2, 3), 1)}
        is_b = names.block.format(names.first) + ".3" in layers
        # ychfan's residuals carry their weight in the gains
        damped = damping("wdsr", features, given) if names.normalisation == "div2k" else {}
        return Read(
            model="wdsr_b" if is_b else "wdsr_a",
            scale=_scale_of_pixels(layers, tail),
            options={
                "num_blocks": num_blocks,
                "num_features": features,
                **_widths(layers, names.block.format(names.first), features, is_b=is_b),
                "normalisation": names.normalisation,
                "weight_norm": any("gain" in leaves for leaves in layers.values()),
                **(damped or {"res_scale": 1.0}),
            },
            layers=renamed,
            assumed={f"model.options.{name}": value for name, value in damped.items()},
        )

    return read


def _widths(layers: Layers, block: str, features: int, *, is_b: bool) -> dict[str, Any]:
    """How wide a block is before its activation, and how narrow after it."""
    expand = max(shape_of(layers, f"{block}.0")[0] // features, 1)
    if not is_b:
        return {"expand": expand}
    narrow = shape_of(layers, f"{block}.2")[0]
    return {"expand": expand, "linear": 0.8 if int(0.8 * features) == narrow else (narrow + 0.5) / features}


def _scale_of_pixels(layers: Layers, tail: str) -> int:
    """The scale of a network whose last convolution gives three colours of S x S sub-pixels."""
    outputs = shape_of(layers, tail)[0]
    scale = math.isqrt(outputs // 3)
    if scale < 2 or 3 * scale**2 != outputs:
        shape = shape_of(layers, tail)
        raise CheckpointError(f"{tail}.weight is {shape}, expected 3 S^2 outputs: 12 for x2, 27 for x3, 48 for x4")
    return scale
