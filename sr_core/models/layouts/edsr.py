"""EDSR as its authors and as BasicSR publish it; the former has the mean colour as two 1x1 convolutions."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from sr_core.errors import CheckpointError
from sr_core.models.layers import DIV2K_MEAN
from sr_core.models.layouts.reading import Given, Read, count, damping, every_other, shape_of
from sr_core.models.state_dicts import Layers

NEAR = 1e-3  # what a mean shift that was not frozen drifts by in training changes no pixel by half a level
MEANS = ("sub_mean", "add_mean")  # layers of EDSR-PyTorch that are no layers here


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EdsrNames:
    """{} is the number of a block, or of a stage times two: a PixelShuffle stands behind each."""

    head: str
    convolutions: tuple[str, str]
    after_body: str
    stage: str
    tail: str


EDSR_PYTORCH = EdsrNames(
    head="head.0",
    convolutions=("body.{}.body.0", "body.{}.body.2"),
    after_body="body.{}",
    stage="tail.0.{}",
    tail="tail.1",
)
BASICSR = EdsrNames(
    head="conv_first",
    convolutions=("body.{}.conv1", "body.{}.conv2"),
    after_body="conv_after_body",
    stage="upsample.{}",
    tail="conv_last",
)


def read_by(names: EdsrNames) -> Callable[[Layers, Given], Read]:
    """A reader of this network by `names`."""

    def read(layers: Layers, given: Given) -> Read:
        num_blocks = count(layers, names.convolutions[0])
        features = shape_of(layers, names.head)[0]
        stages = every_other(layers, names.stage)
        renamed = {names.head: "head", names.after_body.format(num_blocks): "after_body", names.tail: "tail"}
        for i in range(num_blocks):
            renamed |= {name.format(i): f"body.{i}.conv{k}" for k, name in enumerate(names.convolutions, 1)}
        renamed |= {stage: f"upsampler.{i}" for i, stage in enumerate(stages)}
        damped = damping("edsr", features, given)
        return Read(
            model="edsr",
            scale=_scale_of(layers, stages),
            options={"num_blocks": num_blocks, "num_features": features, **damped},
            layers=renamed,
            assumed={f"model.options.{name}": value for name, value in damped.items()},
            factors=_factors(layers),
        )

    return read


def _scale_of(layers: Layers, stages: list[str]) -> int:
    """What sub-pixel stages enlarge by: x2 each, or one of x3."""
    growths = [shape_of(layers, stage)[0] / shape_of(layers, stage)[1] for stage in stages]
    if growths == [9]:
        return 3
    if growths and set(growths) == {4}:
        return int(2 ** len(growths))
    shapes = ", ".join(f"{stage}.weight {shape_of(layers, stage)}" for stage in stages) or "no upsampling"
    raise CheckpointError(f"has {shapes}, expected stages with 4 times as many outputs as inputs, or one with 9 times")


def _factors(layers: Layers) -> dict[str, tuple[float, float]]:
    """What head and tail are multiplied by so that a network for 0..rgb_range takes and gives 0..255.

    Raises:
        CheckpointError: the mean colour is not DIV2K's, or not in the order RGB.
    """
    ranges = [_range_of(layers, mean, sign) for mean, sign in zip(MEANS, (-1, 1), strict=True) if mean in layers]
    if not ranges:
        return {}
    if len(ranges) == 1 or not math.isclose(*ranges, rel_tol=1e-3):
        raise CheckpointError(
            f"has {' and '.join(mean for mean in MEANS if mean in layers)} for ranges {ranges}, expected both for one"
        )
    factor = 255.0 / ranges[0]
    if math.isclose(factor, 1.0, rel_tol=1e-3):
        return {}
    return {"head": (1 / factor, 1.0), "tail": (factor, factor)}


def _range_of(layers: Layers, layer: str, sign: int) -> float:
    """The rgb_range for which `layer` adds DIV2K's mean colour, times `sign`, to every pixel."""
    shapes = {leaf: tuple(stored.tensor.shape) for leaf, stored in layers[layer].items()}
    if shapes != {"weight": (3, 3, 1, 1), "bias": (3,)}:
        raise CheckpointError(f"{layer} holds {shapes}, expected weight (3, 3, 1, 1) and bias (3,): three colours")
    weight, bias = (layers[layer][leaf].tensor.double().cpu() for leaf in ("weight", "bias"))
    mean = torch.tensor(DIV2K_MEAN, dtype=torch.float64)
    found = f"{layer}.bias is {_numbers(bias)}"
    if _is_exchange(weight.flatten(1)) or _is_multiple(bias, sign * mean.flip(0)):
        raise CheckpointError(
            f"{found}: its colours are in the order BGR, expected RGB, {_numbers(sign * 255 * mean)}; exchange the "
            "first and the last colour of its first and last convolution"
        )
    if not torch.allclose(weight.flatten(1), torch.eye(3, dtype=torch.float64), atol=NEAR):
        raise CheckpointError(f"{layer}.weight is {_numbers(weight.flatten())}, expected the identity: std 1")
    if not _is_multiple(bias, sign * mean):
        raise CheckpointError(
            f"{found}, expected DIV2K's mean colour, {_numbers(sign * 255 * mean)} or a multiple of it; a network "
            "with another mean is not here"
        )
    return float((bias.sum() / (sign * mean.sum())).item())


def _is_multiple(found: Tensor, wanted: Tensor) -> bool:
    """Whether `found` is a positive multiple of `wanted` (their entries differ by a tenth; float32 by 1e-7)."""
    ratio = found / wanted
    return bool(ratio.min() > 0 and ratio.max() / ratio.min() < 1.002)


def _is_exchange(matrix: Tensor) -> bool:
    """Whether `matrix` is a permutation other than the identity."""
    is_permutation = torch.equal(matrix.round(), matrix) and bool((matrix.sum(0) == 1).all() and (matrix >= 0).all())
    return is_permutation and bool((matrix.sum(1) == 1).all()) and not torch.equal(matrix, torch.eye(3).to(matrix))


def _numbers(tensor: Tensor) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in tensor.tolist()) + ")"
