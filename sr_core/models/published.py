"""The authors' state dicts as weights of the networks here: a pure function of names and shapes.

Each layout (sr_core/models/layouts) names the layers that tell it from the others; the sizes of the network are read
from the shapes, its layers renamed. What no file tells (the residual's weight, x2 or x3 of the oldest ESRGAN) is taken
as published, and said. A layer that has no counterpart, or a shape that does not fit, is found where the network is
filled. PixelShuffle and weight normalisation order their channels here as there: no tensor is permuted.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sr_core.errors import CheckpointError
from sr_core.models.layouts import LAYOUTS, OTHERS
from sr_core.models.layouts.edsr import MEANS
from sr_core.models.layouts.reading import Given, Layout, Read
from sr_core.models.state_dicts import Layers, readings

# one network under two names: for regression, and against a discriminator
TWINS = {"rrdb": ("rrdb", "esrgan"), "srresnet": ("srresnet", "srgan")}
_OURS = {"gain": "weight_g", "direction": "weight_v"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """A network of sr_core.models, and the tensors for it by its own names."""

    name: str
    options: Mapping[str, Any]
    scale: int
    tensors: Mapping[str, Tensor]
    source: str  # whose names the file has
    layers: Mapping[str, str]  # the file's name of each of our layers
    assumed: Mapping[str, Any]  # what the file does not tell, by its key in params.yaml, and what was taken for it

    def name_in_file(self, name: str) -> str:
        """What the file calls, or would call, our tensor `name`."""
        layer, _, leaf = name.rpartition(".")
        return f"{self.layers.get(layer, layer)}.{leaf}"


def recognise(state: Mapping[str, Tensor], given: Given | None = None) -> Recognised:
    """The network whose weights `state` holds.

    Raises:
        CheckpointError: it is none that is known (says the nearest and what it lacks), one known not to be here, or one
            whose colours are in another order.
    """
    given = given or Given()
    all_readings = list(readings(state))
    for layers in all_readings:
        for layout in LAYOUTS:
            if all(mark in layers for mark in layout.marks):
                return _recognised(layout, layout.read(layers, given), layers, given)
        for marks, what in OTHERS.items():
            if all(mark in layers for mark in marks):
                raise CheckpointError(f"holds {what}")
    raise CheckpointError(_nearest(all_readings))


def _recognised(layout: Layout, read: Read, layers: Layers, given: Given) -> Recognised:
    tensors = {}
    for layer, leaves in layers.items():
        if layer in MEANS:
            continue
        ours = read.layers.get(layer, layer)
        of_weight, of_bias = read.factors.get(ours, (1.0, 1.0))
        factors = {"bias": of_bias, "direction": 1.0}
        for leaf, stored in leaves.items():
            name = f"{ours}.{_OURS.get(leaf, leaf)}"
            factor = factors.get(leaf, of_weight)
            tensors[name] = stored.tensor.float() if factor == 1.0 else stored.tensor.float() * factor
    return Recognised(
        name=given.model if given.model and given.model in TWINS.get(read.model, ()) else read.model,
        options={**read.options, **given.options},
        scale=read.scale,
        tensors=tensors,
        source=layout.source,
        layers={ours: theirs for theirs, ours in read.layers.items()},
        assumed=read.assumed,
    )


def _nearest(all_readings: Sequence[Layers]) -> str:
    """Why nothing was recognised: the layout of which most layers are there, and the first that is not."""

    def share(pair: tuple[Layers, Layout]) -> float:
        layers, layout = pair
        return sum(mark in layers for mark in layout.marks) / len(layout.marks)

    pairs = [(layers, layout) for layers in all_readings for layout in LAYOUTS]
    layers, layout = max(pairs, key=share)
    others = (leaves for layer, leaves in layers.items() if layer not in layout.marks)
    first = min((stored for leaves in others for stored in leaves.values()), key=lambda stored: stored.name)
    strange = f"{first.name} {tuple(first.tensor.shape)}"
    if not share((layers, layout)):
        known = ", ".join(dict.fromkeys(layout.source for layout in LAYOUTS))
        return f"holds no network that is known here (its first tensor is {strange}), expected one of {known}"
    lacking = next(mark for mark in layout.marks if mark not in layers)
    return (
        f"holds no network that is known here: the nearest is {layout.source}, but {lacking}.weight is absent and "
        f"{strange} is there"
    )
