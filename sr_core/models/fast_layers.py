"""Layers that torch computes slowly on a CPU, with the same parameters, results and gradients.

Shapes: B batch, F features, C colours, H W size before the last upsampling stage, S that stage's factor, K kernel size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.models.layers import Float32Conv2d, float32_conv2d, shuffle


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution: (B, F, H, W), (F', F, 1, 1), (F',) -> (B, F', H, W).

    In bf16 on a CPU its gradients are matrix products, for which the pixels of channels_last memory lie ready: measured
    at (16, 192, 48, 48) -> 32 on two cores with AMX, 3.5 ms for 5.1 ms of oneDNN's backward convolution.
    """
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or torch.compiler.is_compiling():
        return functional.conv2d(x, weight, bias)
    out: Tensor = _Pointwise.apply(x, weight.bfloat16(), bias.bfloat16())  # type: ignore[no-untyped-call]
    return out


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        (batch, _, height, width), matrix = x.shape, weight[:, :, 0, 0]
        pixels, to_out = (each.permute(0, 2, 3, 1).flatten(0, 2) for each in (x, gradients[0]))  # (B*H*W, F or F')
        to_x = (to_out @ matrix).view(batch, height, width, -1).permute(0, 3, 1, 2)
        to_weight = (to_out.t() @ pixels)[:, :, None, None]
        to_bias = to_out.new_ones(1, len(to_out)) @ to_out  # summed in float32, faster than by sum
        return to_x, to_weight, to_bias[0]


class PReLU(nn.PReLU):
    """One slope for all channels, learned (He et al. 2015, arXiv 1502.01852).

    torch's backward pass writes the slope's gradient for every element and then sums it up, element by element in
    bf16. On a CPU this one is made of vectorised operations: measured in bf16 at (16, 256, 96, 96), forward and
    backward on one core with AMX, 0.10 s for 0.30 s.
    """

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, input: Tensor) -> Tensor:
        """x where it is positive, slope * x elsewhere; (B, F, ...)."""
        # elsewhere reading the slope would wait for the device, or break the compiler's graph
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        out: Tensor = _PReLU.apply(input, self.weight)  # type: ignore[no-untyped-call]
        return out


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope, ctx.dtype = weight.item(), weight.dtype
        return functional.leaky_relu(x, ctx.slope)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        to_x = torch.ops.aten.leaky_relu_backward(gradients[0], x, ctx.slope, False)
        products = x.clamp(max=0).mul_(gradients[0])
        # over the features in x's type, which is fast; what that rounds averages out over all pixels
        return to_x, products.sum(1).sum(dtype=ctx.dtype).view(1)


class UnshuffledConv2d(Float32Conv2d):
    """An output head that reads its input before the pixel shuffle: the same parameters, sums in another order.

    Few output channels leave most of a matrix unit idle, and the shuffle moves every feature of every HR pixel. A KxK
    convolution of shuffled features is a smaller one with S*S times the channels of the features before: each output
    phase (i, j) of an S x S block sees the block's neighbours at fixed places. Measured on SRResNet's (9x9, 64 -> 3 at
    192x192, batch 16), forward and backward in bf16 on one core with AMX: 0.33 s for 1.05 s behind the shuffle, whose
    own time comes on top.
    """

    def forward(self, input: Tensor, scale: int = 1) -> Tensor:
        """(B, S*S*F, H, W), channels in the order S, S, F -> (B, C, S*H, S*W) float32."""
        if scale == 1:
            return super().forward(input)
        weight = weights_of_blocks(self.weight, scale)
        assert self.bias is not None
        return shuffle(float32_conv2d(input, weight, self.bias.repeat(scale * scale)), scale)


def weights_of_blocks(weight: Tensor, scale: int) -> Tensor:
    """(C, F, K, K) for pixels -> (S*S*C, S*S*F, K', K') for S x S blocks of them."""
    num_out, num_in, kernel, _ = weight.shape
    margin = kernel // 2
    reach = -(-margin // scale)  # blocks
    blocks = 2 * reach + 1
    before = [phase - margin + scale * reach for phase in range(scale)]
    sides = [(one, scale * blocks - kernel - one) for one in before]
    phases = torch.stack([functional.pad(weight, (*across, *down)) for down in sides for across in sides])
    # (S*S, C, F, K'*S, K'*S) -> (S*S, C, S, S, F, K', K')
    split = phases.view(scale * scale, num_out, num_in, blocks, scale, blocks, scale).permute(0, 1, 4, 6, 2, 3, 5)
    merged = split.reshape(scale * scale * num_out, scale * scale * num_in, blocks, blocks)
    return merged.contiguous(memory_format=torch.channels_last)
