"""A network in two halves, ready to compute without gradients.

`encode` works at LR size and looks far: what it needs for a pixel is little memory and much context, so it takes large
tiles. `decode` writes HR pixels and looks at few neighbours: it goes over the features in small boxes. A network that
offers no halves (the interface is nn.Module with `scale` and `receptive_field`) is all decode.

Weights are converted once, not for every tile: to channels_last memory, to the number format in which the layer
computes, and with batch and weight normalisation folded into the convolutions.

Shapes: B batch, C colours, F features, H W LR size, S scale.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from sr_core.models.layers import Float32Conv2d
from sr_core.models.wdsr import Wdsr
from sr_core.precision import Precision
from sr_core.upscale.memory import decode_side, inner_side

Decode = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Halves:
    """What the tiling needs of a network: it is decode(encode(x), x)."""

    scale: int
    overlap: int  # LR pixels on each side that are read with a tile
    reach: int  # LR pixels on each side that decode sees
    encode: Callable[[Tensor], Tensor] | None  # (B, 3, H, W) in 0..255 -> (B, F, H, W); None: decode takes x twice
    decode: Decode  # (B, F, H, W), (B, 3, H, W) -> (B, 3, S*H, S*W) float32
    side: int  # LR pixels of the boxes that decode takes, where there is an encode
    inner_side: int  # the same of decode_inner
    decode_inner: Decode | None  # as decode, and faster, but wrong in `reach` pixels from where features end


def halves(network: nn.Module, precision: Precision, place: torch.device) -> Halves:
    """The halves of `network`, which is in evaluation mode and stays as it is; its later weights are not in them."""
    known: Any = network
    overlap: int = getattr(network, "tile_overlap", known.receptive_field)
    if not hasattr(network, "encode"):
        return Halves(
            scale=known.scale,
            overlap=overlap,
            reach=overlap,
            encode=None,
            side=0,
            inner_side=0,
            decode=lambda _features, x: network(x),
            decode_inner=None,
        )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    twin: Any = _twin(network.fused() if isinstance(network, Wdsr) else network, dtype)
    inner = known.inner_decoder() if hasattr(network, "inner_decoder") else None
    return Halves(
        scale=known.scale,
        overlap=overlap,
        reach=known.decode_reach,
        encode=twin.encode,
        side=decode_side(network, precision, place),
        decode=twin.decode,
        inner_side=inner_side(inner, place) if inner is not None else 0,
        decode_inner=inner,
    )


def _twin(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`module` with converted convolutions; everything else in it is shared."""
    twin = copy.copy(module)
    twin._modules = {name: child and _twin(child, dtype) for name, child in module._modules.items()}
    for before, norm in getattr(module, "normalised", ()):
        folded = fuse_conv_bn_eval(getattr(module, before), getattr(module, norm))
        twin._modules |= {before: _twin(folded, dtype), norm: nn.Identity()}
    if isinstance(module, nn.Conv2d):
        own = torch.float32 if isinstance(module, Float32Conv2d) else dtype
        twin._parameters = {name: _converted(parameter, own) for name, parameter in module._parameters.items()}
    return twin


def _converted(parameter: nn.Parameter | None, dtype: torch.dtype) -> nn.Parameter | None:
    if parameter is None:
        return None
    form = torch.channels_last if parameter.dim() == 4 else torch.preserve_format
    return nn.Parameter(parameter.detach().to(dtype=dtype, memory_format=form), requires_grad=False)
