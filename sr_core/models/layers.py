"""What several networks are made of."""

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

GlobalSkip: TypeAlias = Literal["none", "bicubic"]  # what a network's output is added to, beside the mean colour

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB in 0..1, over DIV2K's training images (Lim et al. 2017)

FACTORS = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # by scale, of the stages that networks enlarge in


def rgb_mean() -> Tensor:
    """DIV2K's mean colour on a 0..255 scale, shape (1, 3, 1, 1)."""
    return 255.0 * torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)


def conv3x3(num_in: int, num_out: int) -> nn.Conv2d:
    """A 3x3 convolution with bias that keeps the size."""
    return nn.Conv2d(num_in, num_out, 3, padding=1)


class Float32Conv2d(nn.Conv2d):
    """A same-size convolution whose result is float32 under autocast: an output head, whose 8 bits bf16 would blur.

    Its backward pass computes in the input's type, as that of every other layer does. Measured on EDSR's tail at
    192x192, batch 16: 80 ms for 244 ms in float32, and 0.15 GB less kept for it.
    """

    def __init__(self, num_in: int, num_out: int, kernel_size: int) -> None:
        super().__init__(num_in, num_out, kernel_size, padding=kernel_size // 2)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) of any float type -> (B, C', H, W) float32."""
        assert self.bias is not None
        return float32_conv2d(input, self.weight, self.bias)


def float32_conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What `Float32Conv2d` computes, with any weight: (B, C, H, W), (C', C, K, K), (C',) -> (B, C', H, W) float32."""
    with torch.autocast(x.device.type, enabled=False):
        out: Tensor = _Float32Conv.apply(x, weight, bias, weight.shape[-1] // 2)  # type: ignore[no-untyped-call]
        return out


class _Float32Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return nn.functional.conv2d(x.to(weight.dtype), weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient, sides, once = gradients[0], [ctx.padding] * 2, [1, 1]
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            gradient.to(x.dtype), x, weight.to(x.dtype), None, once, sides, once, False, [0, 0], 1, wanted
        )
        return to_x, None if to_weight is None else to_weight.to(weight.dtype), gradient.sum((0, 2, 3)), None


def relu_(x: Tensor) -> Tensor:
    """max(x, 0) in place, of any shape.

    On a CPU bf16 is computed in float32, but seen as 16-bit integers the numbers have the same sign: 0.7 ms for 7.9 ms
    on (16, 192, 48, 48), one core, and a step of WDSR-B takes 0.68 s for 0.81 s. NaN stays, as in torch.
    """
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or torch.compiler.is_compiling():
        return torch.relu_(x)
    out: Tensor = _IntegerRelu.apply(x)  # type: ignore[no-untyped-call]
    return out


_NEGATIVE_INFINITY = -128  # bf16's, as an integer


class _IntegerRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # NaN with a sign lies above -infinity's bits, every other negative number at them or below
        nn.functional.threshold(x.view(torch.int16), _NEGATIVE_INFINITY, 0, inplace=True)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        to_x: Tensor = torch.ops.aten.threshold_backward(gradients[0].view(torch.int16), out.view(torch.int16), 0)
        return to_x.view(torch.bfloat16)


class NormalisedConv2d(nn.Module):
    """A same-size convolution by weight_g * weight_v / |weight_v|, |v| of each output channel (arXiv 1602.07868).

    `weight` is computed anew whenever it is asked for. In the beginning it is PyTorch's default for a convolution.
    An output head computes in float32, as `Float32Conv2d` does.
    """

    def __init__(self, num_in: int, num_out: int, kernel_size: int, *, is_output: bool = False) -> None:
        super().__init__()
        self.is_output = is_output
        plain = nn.Conv2d(num_in, num_out, kernel_size)
        direction = plain.weight.detach()
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(direction, dim=(1, 2, 3), keepdim=True))
        self.weight_v = nn.Parameter(direction)
        assert plain.bias is not None
        self.bias = plain.bias

    @property
    def weight(self) -> Tensor:
        """(C', C, K, K), in weight_v's memory format."""
        # one kernel forward and one backward; it wants plain memory, which channels_last is when seen as C', K, K, C
        v, g = self.weight_v.permute(0, 2, 3, 1), self.weight_g.permute(0, 2, 3, 1)
        return torch._weight_norm(v, g, 0).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        if self.is_output:
            return float32_conv2d(x, self.weight, self.bias)
        return nn.functional.conv2d(x, self.weight, self.bias, padding=self.weight_v.shape[-1] // 2)


class SubPixelConv2d(nn.Conv2d):
    """Convolution and PixelShuffle (Shi et al. 2016) in one: (B, F, H, W) -> (B, F, S*H, S*W).

    The parameters are those of a convolution before a PixelShuffle. Its output channels are put in the order
    S, S, F first, so that in channels_last memory whole pixels of F channels move: with bf16 on a CPU the stage
    takes 0.8 of the time, since PixelShuffle's own backward moves single numbers.
    """

    def __init__(self, num_features: int, scale: int) -> None:
        super().__init__(num_features, scale * scale * num_features, 3, padding=1)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, S*H, S*W)."""
        return shuffle(self.unshuffled(input), self.scale)

    def unshuffled(self, input: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, S*S*F, H, W): before the shuffle, channels in the order S, S, F."""
        scale, num_features = self.scale, input.shape[1]
        weight = self.weight.view(num_features, scale * scale, *self.weight.shape[1:]).transpose(0, 1).flatten(0, 1)
        bias = self.bias.view(num_features, scale * scale).t().flatten() if self.bias is not None else None
        return nn.functional.conv2d(input, weight.contiguous(memory_format=torch.channels_last), bias, padding=1)


def shuffle(x: Tensor, scale: int) -> Tensor:
    """PixelShuffle of channels in the order S, S, C: (B, S*S*C, H, W) -> (B, C, S*H, S*W)."""
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height, width, scale, scale, channels // scale**2)
    pixels = pixels.transpose(2, 3).reshape(batch, height * scale, width * scale, channels // scale**2)
    return pixels.permute(0, 3, 1, 2)


def upsampler(num_features: int, scale: int) -> nn.Sequential:
    """Sub-pixel upsampling as EDSR stacks it: x2 stages for 2, 4, 8; one stage for 3."""
    return nn.Sequential(*(SubPixelConv2d(num_features, factor) for factor in FACTORS[scale]))
