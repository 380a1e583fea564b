"""RRDBNet, and the generator of ESRGAN: Enhanced Super-Resolution GAN (Wang et al. 2018, arXiv 1809.00219).

Residual-in-residual dense blocks without normalisation, one long skip, nearest-neighbour upsampling each followed by
a convolution (figures 3 and 4 of the paper; the authors' code). It works on RGB in [0, 1], converted here.

Shapes: B batch, F features, G growth, H W LR size, S scale.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_core.models.interpolation import Bicubic
from sr_core.models.layers import FACTORS, Float32Conv2d, GlobalSkip, conv3x3

SLOPE = 0.2  # of every LeakyReLU
NUM_GROWING = 4  # convolutions of a dense block whose features are added to its own input; the fifth ends it
TILE_OVERLAP = 48  # LR pixels: what lies further away was seen to change no result by a level of 255
INIT_SCALE = 0.1  # section 3.1: residual blocks begin close to nothing


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RrdbConfig:
    """The paper's network: 23 blocks of 64 features and growth 32."""

    scale: int
    num_blocks: int = 23
    num_features: int = 64
    num_growth: int = 32
    res_scale: float = 0.2  # beta of the paper
    global_skip: GlobalSkip = "none"  # bicubic, ours: the network learns what bicubic interpolation lacks


PRESETS: dict[str, dict[str, Any]] = {
    "small": {"num_blocks": 2, "num_features": 32, "num_growth": 16, "global_skip": "bicubic"},  # ours
    "paper": {},
    "lite": {"num_blocks": 6},  # the smaller network that Real-ESRGAN publishes for anime
}


class DenseBlock(nn.Module):
    """x + beta * conv5([x, y1..y4]), y_k = LeakyReLU(conv_k([x, y1..y_(k-1)])).

    Its backward pass needs nothing but all features in one tensor, F + 4G channels, of which every convolution read the
    beginning. autograd would keep what each of them read, and y1..y4: measured in bf16, F = 64 and G = 32, batch 16 of
    48x48, on a CPU with AMX, 14 MB for 57 MB a block, in the same time.
    """

    def __init__(self, num_features: int, num_growth: int, res_scale: float) -> None:
        super().__init__()
        sizes = [num_features + index * num_growth for index in range(NUM_GROWING + 1)]
        self.conv1, self.conv2, self.conv3, self.conv4 = (conv3x3(size, num_growth) for size in sizes[:-1])
        self.conv5 = conv3x3(sizes[-1], num_features)
        self.res_scale = res_scale
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
            with torch.no_grad():
                conv.weight.mul_(INIT_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        convs = (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5)
        parameters = [parameter for conv in convs for parameter in (conv.weight, conv.bias)]
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        with torch.autocast(kind, enabled=False):
            out: Tensor = _Dense.apply(x.to(dtype), *parameters)  # type: ignore[no-untyped-call]
        return torch.add(x, out, alpha=self.res_scale)


class _Dense(torch.autograd.Function):
    """conv5's result, of weight and bias of the five; x's type is that of all computation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        *pairs, (last, last_bias) = zip(parameters[::2], parameters[1::2], strict=True)
        features = x
        for weight, bias in pairs:
            new = functional.conv2d(features, weight.to(x.dtype), bias.to(x.dtype), padding=1)
            features = torch.cat((features, functional.leaky_relu_(new, SLOPE)), 1)
        ctx.save_for_backward(features, *parameters[::2])
        return functional.conv2d(features, last.to(x.dtype), last_bias.to(x.dtype), padding=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, *weights = ctx.saved_tensors
        weights.reverse()
        end, growth, found = features.shape[1], weights[-1].shape[0], _channels_last(gradients[0])
        while end > weights[-1].shape[1]:  # found: of the results of conv5, conv4, ...
            to_new = _to_features(found, weights, slice(end - growth, end))
            new = _channels_last(features[:, end - growth : end])
            found = torch.cat((found, torch.ops.aten.leaky_relu_backward(to_new, new, SLOPE, True)), 1)
            end -= growth
        to_x = _to_features(found, weights, slice(0, end))
        sizes, dtype = [weight.shape[0] for weight in weights], weights[0].dtype
        to_biases = torch.split(found.sum((0, 2, 3), dtype=dtype), sizes)
        # one convolution for all weights, some of whose results belong to none: five would first copy their features
        products = torch.split(_to_weight(features, found).to(dtype), sizes)
        to_weights = [product[:, : weight.shape[1]] for product, weight in zip(products, weights, strict=True)]
        pairs = zip(reversed(to_weights), reversed(to_biases), strict=True)
        return to_x, *(gradient for pair in pairs for gradient in pair)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _to_features(found: Tensor, weights: list[Tensor], features: slice) -> Tensor:
    """The gradient of some features, from those of the results of the convolutions that read them.

    These are the last so many of the block: `weights` begins with conv5's, `found` with the gradient of its result.
    """
    readers = torch.cat([weight[:, features] for weight in weights if weight.shape[1] >= features.stop])
    weight = readers.flip(2, 3).transpose(0, 1).to(found.dtype)
    return functional.conv2d(found, _channels_last(weight), padding=1)


def _to_weight(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a 3x3 convolution's weight: (B, C, H, W), (B, C', H, W) -> (C', C, 3, 3)."""
    once, wanted = [1, 1], [False, True, False]
    weight = _channels_last(x.new_empty(gradient.shape[1], x.shape[1], 3, 3))  # only its shape counts
    out: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, once, once, once, False, [0, 0], 1, wanted
    )[1]
    return out


class ResidualBlock(nn.Module):
    """Three dense blocks, x + beta * what they make of it: the residual in residual."""

    def __init__(self, num_features: int, num_growth: int, res_scale: float) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(num_features, num_growth, res_scale) for _ in range(3))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> (B, F, H, W)."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=self.res_scale)


class Rrdb(nn.Module):
    """(B, 3, H, W) in 0..255 -> (B, 3, S*H, S*W) float32 in about 0..255."""

    scale_dependent = ("upsampler", "before_tail", "tail")

    def __init__(self, config: RrdbConfig) -> None:
        super().__init__()
        features = config.num_features
        self.scale = config.scale
        self.factors = FACTORS[config.scale]
        # head, 15 convolutions per block, after the body; the convolutions on enlarged features: two LR pixels at x2,
        # x4 and x8 (3 HR pixels end in the second, one more and halved is again the second), one at x3
        self.receptive_field = 1 + 15 * config.num_blocks + 1 + (1 if config.scale == 3 else 2)
        self.tile_overlap = min(self.receptive_field, TILE_OVERLAP)
        self.decode_reach = 2  # at x3 one for features, but two for the skip
        # the long skip, the inputs of a block and of a dense block, whose features a new tensor takes in with more
        self.encode_values = 4 * features + 2 * (features + NUM_GROWING * config.num_growth)
        self.decode_values = 4 * features * config.scale**2  # two layers of enlarged features, in float32 for the tail
        self.head = conv3x3(3, features)
        blocks = (ResidualBlock(features, config.num_growth, config.res_scale) for _ in range(config.num_blocks))
        self.body = nn.Sequential(*blocks)
        self.after_body = conv3x3(features, features)
        self.upsampler = nn.ModuleList(conv3x3(features, features) for _ in self.factors)
        self.before_tail = conv3x3(features, features)
        self.tail = Float32Conv2d(features, 3, kernel_size=3)
        self.global_skip = Bicubic(config.scale) if config.global_skip == "bicubic" else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, S*H, S*W)."""
        return self.decode(self.encode(x), x)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, F, H, W)."""
        shallow = self.head(x / 255.0)
        out: Tensor = self.after_body(self.body(shallow)) + shallow
        return out

    def decode(self, features: Tensor, x: Tensor) -> Tensor:
        """(B, F, H, W), (B, 3, H, W) -> (B, 3, S*H, S*W)."""
        out = features
        for factor, conv in zip(self.factors, self.upsampler, strict=True):
            out = functional.leaky_relu_(conv(functional.interpolate(out, scale_factor=factor)), SLOPE)
        rgb: Tensor = self.tail(functional.leaky_relu_(self.before_tail(out), SLOPE)) * 255.0
        return rgb if self.global_skip is None else rgb + self.global_skip(x)
