"""A copy of a network that other programs can be given: the same function, of layers that every exporter knows.

Training's layers are made for training: convolutions with a backward pass of their own, channels reordered in every
call, interpolation by matrices of the image's size. Here the order is in the weights, and interpolation by a whole
factor is what it is in the middle of an image everywhere: S x S filters on an image that is mirrored at its border.

Shapes: B batch, F features, C colours, H W LR size, S scale, K kernel size.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.models.fast_layers import UnshuffledConv2d, weights_of_blocks
from sr_core.models.interpolation import Interpolation, enlarging_matrix
from sr_core.models.layers import Float32Conv2d, SubPixelConv2d
from sr_core.models.rrdb import SLOPE, DenseBlock
from sr_core.models.wdsr import Wdsr

COLOURS = 3


def plain(network: nn.Module) -> nn.Module:
    """A copy of `network`, one of sr_core.models, in evaluation mode and without gradients; weight norm is fused."""
    copied = network.fused() if isinstance(network, Wdsr) else copy.deepcopy(network)
    copied = _replaced(copied.cpu().float().eval())
    return copied.requires_grad_(False)


def _replaced(module: nn.Module) -> nn.Module:
    """`module`, or what stands for it; so with everything in it."""
    if isinstance(module, Interpolation):
        return FilterInterpolation(module)
    if isinstance(module, SubPixelConv2d):
        return _SubPixel(module)
    if isinstance(module, UnshuffledConv2d):
        return _Unshuffled(module)
    if isinstance(module, Float32Conv2d):
        return _conv(module.weight, module.bias)
    if isinstance(module, DenseBlock):
        return _Dense(module)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module


class FilterInterpolation(nn.Module):
    """(B, 3, H, W) -> (B, 3, S*H, S*W): what `Interpolation` computes, without matrices of the image's size."""

    filters: Tensor

    def __init__(self, module: Interpolation) -> None:
        super().__init__()
        self.scale, self.receptive_field = module.scale, module.receptive_field
        reach, middle = module.receptive_field, 2 * module.receptive_field + 1
        matrix = enlarging_matrix(2 * middle + 1, module.scale, module.kernel, reach, torch.device("cpu"))
        rows = matrix[
            module.scale * middle : module.scale * (middle + 1), middle - reach : middle + reach + 1
        ]  # (S, K)
        filters = rows[:, None, :, None] * rows[None, :, None, :]  # (S, S, K, K)
        self.register_buffer("filters", filters.flatten(0, 1)[:, None].repeat(COLOURS, 1, 1, 1))  # (C*S*S, 1, K, K)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        for axis in (2, 3):
            x = torch.index_select(x, axis, _mirrored(x.shape[axis], self.receptive_field, x.device))
        return functional.pixel_shuffle(functional.conv2d(x, self.filters, groups=COLOURS), self.scale)


def _mirrored(length: int, reach: int, device: torch.device) -> Tensor:
    """The indices -reach .. length + reach - 1 of an axis that is mirrored at both ends, however short it is."""
    period = torch.full((1,), 2 * length, device=device)  # a tensor, as ONNX's Mod takes no number
    index = torch.arange(-reach, length + reach, device=device).remainder(period)
    return torch.minimum(index, period - 1 - index)


class _SubPixel(nn.Module):
    """SubPixelConv2d with its channels in the order that is asked for."""

    def __init__(self, module: SubPixelConv2d) -> None:
        super().__init__()
        self.scale = module.scale
        self.conv = _conv(module.weight, module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, S*H, S*W)."""
        return functional.pixel_shuffle(self.conv(x), self.scale)

    def unshuffled(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F*S*S, H, W), in PixelShuffle's own order."""
        out: Tensor = self.conv(x)
        return out


class _Unshuffled(nn.Module):
    """UnshuffledConv2d behind a `_SubPixel` of factor 2."""

    def __init__(self, module: UnshuffledConv2d, scale: int = 2) -> None:
        super().__init__()
        weight = weights_of_blocks(module.weight, scale)  # (S*S*C, S*S*F, K', K')
        assert module.bias is not None
        colours, pixels = len(module.bias), scale * scale
        split = weight.view(pixels, colours, pixels, -1, *weight.shape[2:]).permute(1, 0, 3, 2, 4, 5)
        merged = split.reshape(colours * pixels, -1, *weight.shape[2:])  # (C*S*S, F*S*S, K', K')
        self.scale, self.conv = scale, _conv(merged, module.bias.repeat_interleave(pixels))

    def forward(self, x: Tensor, scale: int) -> Tensor:
        """(B, F*S*S, H, W) -> (B, C, S*H, S*W)."""
        assert scale == self.scale
        return functional.pixel_shuffle(self.conv(x), scale)


class _Dense(nn.Module):
    """DenseBlock of plain convolutions."""

    def __init__(self, module: DenseBlock) -> None:
        super().__init__()
        self.convs = nn.ModuleList((module.conv1, module.conv2, module.conv3, module.conv4))
        self.last, self.res_scale = module.conv5, module.res_scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        features = x
        for conv in self.convs:
            features = torch.cat((features, functional.leaky_relu(conv(features), SLOPE)), 1)
        return torch.add(x, self.last(features), alpha=self.res_scale)


def _conv(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A plain convolution that keeps the size."""
    num_out, num_in, kernel, _ = weight.shape
    conv = nn.Conv2d(num_in, num_out, kernel, padding=kernel // 2, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight.detach().contiguous().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv
