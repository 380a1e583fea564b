"""What the readers of published layouts share: what they are given, what they find, and looks at layers.

A layer is the part of a tensor's name before `.weight` and its like; shapes are those of a convolution's kernel,
(outputs, inputs, height, width).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sr_core.errors import CheckpointError
from sr_core.models.state_dicts import Layers

_MANY_FEATURES = {"edsr": 256, "wdsr": 128}  # from which on networks were published with a damped residual
_DAMPED = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What the user says of a file because it does not; None and nothing: as read and as published."""

    model: str | None = None
    scale: int | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What a layout's reader finds: the network, and its layers' names here by those in the file."""

    model: str
    scale: int
    options: Mapping[str, Any]
    layers: Mapping[str, str]
    assumed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    factors: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)  # of our layer's weight, bias


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way in which a network was published."""

    source: str
    marks: tuple[str, ...]  # layers by which it is known: no other layout has all of them
    read: Callable[[Layers, Given], Read]


def shape_of(layers: Layers, layer: str) -> tuple[int, int, int, int]:
    """(outputs, inputs, height, width) of a convolution's kernel.

    Raises:
        CheckpointError: it is absent, or no convolution's.
    """
    leaves = layers.get(layer, {})
    stored = leaves.get("weight") or leaves.get("direction")
    shape = tuple(stored.tensor.shape) if stored else ()
    if len(shape) != 4 or 0 in shape:
        name, found = (stored.name, shape) if stored else (f"{layer}.weight", "absent")
        raise CheckpointError(f"{name} is {found}, expected the four sizes of a convolution's kernel")
    return shape[0], shape[1], shape[2], shape[3]


def count(layers: Layers, pattern: str, start: int = 0) -> int:
    """How many layers there are of `pattern` with the numbers from `start` on."""
    number = start
    while pattern.format(number) in layers:
        number += 1
    return number - start


def every_other(layers: Layers, pattern: str) -> list[str]:
    """The layers of `pattern` with even numbers: those that a PixelShuffle follows in a list."""
    return [name for name in map(pattern.format, range(0, 8, 2)) if name in layers]


def damping(model: str, features: int, given: Given) -> dict[str, Any]:
    """The weight of the residuals, unless it is given: as the networks of this size were published."""
    if "res_scale" in given.options:
        return {}
    return {"res_scale": _DAMPED if features >= _MANY_FEATURES[model] else 1.0}
