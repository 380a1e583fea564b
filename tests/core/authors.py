"""The networks as their authors wrote them: their structure, their names, their ranges. Nothing here is ours.

Each takes and gives images in the authors' own range, which `RANGES` names.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, weight_norm

MEAN = (0.4488, 0.4371, 0.4040)


class MeanShift(nn.Conv2d):
    """EDSR-PyTorch's."""

    def __init__(self, rgb_range, sign=-1, mean=MEAN):
        super().__init__(3, 3, kernel_size=1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * rgb_range * torch.tensor(mean)


class EdsrBlock(nn.Module):
    def __init__(self, features, res_scale):
        super().__init__()
        conv = [nn.Conv2d(features, features, 3, padding=1) for _ in range(2)]
        self.body = nn.Sequential(conv[0], nn.ReLU(True), conv[1])
        self.res_scale = res_scale

    def forward(self, x):
        res = self.body(x).mul(self.res_scale)
        res += x
        return res


def shuffling(scale, features):
    if scale == 3:
        return nn.Sequential(nn.Conv2d(features, 9 * features, 3, 1, 1), nn.PixelShuffle(3))
    stages = int(math.log2(scale))
    modules = [m for _ in range(stages) for m in (nn.Conv2d(features, 4 * features, 3, 1, 1), nn.PixelShuffle(2))]
    return nn.Sequential(*modules)


class EdsrPytorch(nn.Module):
    """sanghyun-son/EDSR-PyTorch: images in 0..rgb_range."""

    def __init__(self, scale, blocks=3, features=8, res_scale=1.0, rgb_range=255, mean=MEAN):
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(rgb_range, -1, mean), MeanShift(rgb_range, 1, mean)
        self.head = nn.Sequential(nn.Conv2d(3, features, 3, padding=1))
        body = [EdsrBlock(features, res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*body, nn.Conv2d(features, features, 3, padding=1))
        self.tail = nn.Sequential(shuffling(scale, features), nn.Conv2d(features, 3, 3, padding=1))

    def forward(self, x):
        x = self.head(self.sub_mean(x))
        res = self.body(x)
        res += x
        return self.add_mean(self.tail(res))


class BlockNoBN(nn.Module):
    """BasicSR's ResidualBlockNoBN."""

    def __init__(self, features, res_scale=1.0):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(features, features, 3, 1, 1) for _ in range(2))
        self.res_scale = res_scale

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(x))) * self.res_scale


class EdsrBasicsr(nn.Module):
    """BasicSR: images in 0..1."""

    def __init__(self, scale, blocks=3, features=8, res_scale=1.0):
        super().__init__()
        self.mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        self.conv_first = nn.Conv2d(3, features, 3, 1, 1)
        self.body = nn.Sequential(*(BlockNoBN(features, res_scale) for _ in range(blocks)))
        self.conv_after_body = nn.Conv2d(features, features, 3, 1, 1)
        self.upsample = shuffling(scale, features)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, x):
        x = self.conv_first((x - self.mean) * 255.0)
        res = self.conv_after_body(self.body(x)) + x
        return self.conv_last(self.upsample(res)) / 255.0 + self.mean


class MsrResnet(nn.Module):
    """BasicSR's MSRResNet, which is no SRResNet."""

    def __init__(self, features=8, blocks=2):
        super().__init__()
        self.conv_first = nn.Conv2d(3, features, 3, 1, 1)
        self.body = nn.Sequential(*(BlockNoBN(features) for _ in range(blocks)))
        self.upconv1, self.upconv2 = (nn.Conv2d(features, 4 * features, 3, 1, 1) for _ in range(2))
        self.conv_hr, self.conv_last = nn.Conv2d(features, features, 3, 1, 1), nn.Conv2d(features, 3, 3, 1, 1)


class WdsrBlockA(nn.Module):
    def __init__(self, features, wide, wn, res_scale):
        super().__init__()
        self.body = nn.Sequential(
            wn(nn.Conv2d(features, wide, 3, padding=1)), nn.ReLU(True), wn(nn.Conv2d(wide, features, 3, padding=1))
        )
        self.res_scale = res_scale

    def forward(self, x):
        return self.body(x) * self.res_scale + x


class WdsrBlockB(nn.Module):
    def __init__(self, features, wn, res_scale):
        super().__init__()
        narrow = int(features * 0.8)
        self.body = nn.Sequential(
            wn(nn.Conv2d(features, 6 * features, 1)),
            nn.ReLU(True),
            wn(nn.Conv2d(6 * features, narrow, 1)),
            wn(nn.Conv2d(narrow, features, 3, padding=1)),
        )
        self.res_scale = res_scale

    def forward(self, x):
        return self.body(x) * self.res_scale + x


class WdsrJiahui(nn.Module):
    """JiahuiYu/wdsr_ntire2018: images in 0..255."""

    def __init__(self, scale, variant, blocks=3, features=8, res_scale=1.0, wn=weight_norm):
        super().__init__()
        pixels = 3 * scale**2
        self.rgb_mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        self.head = nn.Sequential(wn(nn.Conv2d(3, features, 3, padding=1)))
        if variant == "a":
            body = [WdsrBlockA(features, 4 * features, wn, res_scale) for _ in range(blocks)]
        else:
            body = [WdsrBlockB(features, wn, res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*body)
        self.tail = nn.Sequential(wn(nn.Conv2d(features, pixels, 3, padding=1)), nn.PixelShuffle(scale))
        self.skip = nn.Sequential(wn(nn.Conv2d(3, pixels, 5, padding=2)), nn.PixelShuffle(scale))

    def forward(self, x):
        x = (x - self.rgb_mean * 255) / 127.5
        s = self.skip(x)
        x = self.tail(self.body(self.head(x)))
        x = x + s
        return x * 127.5 + self.rgb_mean * 255


class WdsrYchfan(nn.Module):
    """ychfan/wdsr: images in 0..1; everything in one list, and the residual's weight in the gains."""

    def __init__(self, scale, blocks=3, features=8, wide=4, wn=weight_norm):
        super().__init__()
        pixels = 3 * scale**2
        body = [WdsrBlockA(features, wide * features, wn, 1) for _ in range(blocks)]
        if wn is weight_norm:
            for block in body:
                nn.init.constant_(block.body[2].weight_g, 1 / math.sqrt(blocks))
        head, tail = wn(nn.Conv2d(3, features, 3, padding=1)), wn(nn.Conv2d(features, pixels, 3, padding=1))
        self.body = nn.Sequential(head, *body, tail)
        self.skip = nn.Sequential(wn(nn.Conv2d(3, pixels, 5, padding=2)))
        self.shuf = nn.Sequential(nn.PixelShuffle(scale))

    def forward(self, x):
        x = x - 0.5
        return self.shuf(self.body(x) + self.skip(x)) + 0.5


class WdsrYchfanByName(nn.Module):
    """The same with a name for each part."""

    def __init__(self, scale, variant="a", blocks=3, features=8, wn=weight_norm):
        super().__init__()
        pixels = 3 * scale**2
        block = (lambda: WdsrBlockA(features, 4 * features, wn, 1)) if variant == "a" else None
        block = block or (lambda: WdsrBlockB(features, wn, 1))
        self.head = wn(nn.Conv2d(3, features, 3, padding=1))
        self.body = nn.Sequential(*(block() for _ in range(blocks)))
        self.tail = wn(nn.Conv2d(features, pixels, 3, padding=1))
        self.skip = wn(nn.Conv2d(3, pixels, 5, padding=2))
        self.scale = scale

    def forward(self, x):
        x = x - 0.5
        return F.pixel_shuffle(self.tail(self.body(self.head(x))) + self.skip(x), self.scale) + 0.5


class DenseBlock(nn.Module):
    """`layer` makes a convolution: plain, or in a list with its activation as ESRGAN had it in 2018."""

    def __init__(self, features, growth, is_old):
        super().__init__()
        for k in range(1, 6):
            conv = nn.Conv2d(features + (k - 1) * growth, growth if k < 5 else features, 3, 1, 1)
            activation = [nn.LeakyReLU(0.2, True)] if k < 5 else []
            setattr(self, f"conv{k}", nn.Sequential(conv, *activation) if is_old else conv)
        self.is_old = is_old

    def forward(self, x):
        seen = [x]
        for k in range(1, 5):
            out = getattr(self, f"conv{k}")(torch.cat(seen, 1))
            seen.append(out if self.is_old else F.leaky_relu(out, 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class RrdbBlock(nn.Module):
    def __init__(self, features, growth, letters, is_old):
        super().__init__()
        self.order = [f"{letters}{k}" for k in (1, 2, 3)]
        for name in self.order:
            setattr(self, name, DenseBlock(features, growth, is_old))

    def forward(self, x):
        out = x
        for name in self.order:
            out = getattr(self, name)(out)
        return out * 0.2 + x


class RrdbBasicsr(nn.Module):
    """BasicSR and Real-ESRGAN: images in 0..1, x4."""

    def __init__(self, blocks=2, features=8, growth=4, inputs=3):
        super().__init__()
        self.conv_first = nn.Conv2d(inputs, features, 3, 1, 1)
        self.body = nn.Sequential(*(RrdbBlock(features, growth, "rdb", False) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up1, self.conv_up2, self.conv_hr = (nn.Conv2d(features, features, 3, 1, 1) for _ in range(3))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, x):
        feat = self.conv_first(x)
        feat = feat + self.conv_body(self.body(feat))
        for conv in (self.conv_up1, self.conv_up2):
            feat = F.leaky_relu(conv(F.interpolate(feat, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(feat), 0.2))


class EsrganNew(nn.Module):
    """xinntao/ESRGAN since 2019: images in 0..1, x4."""

    def __init__(self, blocks=2, features=8, growth=4):
        super().__init__()
        self.conv_first = nn.Conv2d(3, features, 3, 1, 1)
        self.RRDB_trunk = nn.Sequential(*(RrdbBlock(features, growth, "RDB", False) for _ in range(blocks)))
        self.trunk_conv = nn.Conv2d(features, features, 3, 1, 1)
        self.upconv1, self.upconv2, self.HRconv = (nn.Conv2d(features, features, 3, 1, 1) for _ in range(3))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def forward(self, x):
        fea = self.conv_first(x)
        fea = fea + self.trunk_conv(self.RRDB_trunk(fea))
        for conv in (self.upconv1, self.upconv2):
            fea = F.leaky_relu(conv(F.interpolate(fea, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.HRconv(fea), 0.2))


class Shortcut(nn.Module):
    def __init__(self, sub):
        super().__init__()
        self.sub = sub

    def forward(self, x):
        return x + self.sub(x)


class EsrganOld(nn.Module):
    """xinntao/ESRGAN in 2018, a list of everything: images in 0..1, any scale."""

    def __init__(self, scale, blocks=2, features=8, growth=4):
        super().__init__()
        trunk = [RrdbBlock(features, growth, "RDB", True) for _ in range(blocks)]
        after = nn.Conv2d(features, features, 3, 1, 1)
        stages = [3] if scale == 3 else [2] * int(math.log2(scale))
        modules = [nn.Conv2d(3, features, 3, 1, 1), Shortcut(nn.Sequential(*trunk, after))]
        for factor in stages:
            conv = nn.Conv2d(features, features, 3, 1, 1)
            modules += [nn.Upsample(scale_factor=factor, mode="nearest"), conv, nn.LeakyReLU(0.2, True)]
        modules += [nn.Conv2d(features, features, 3, 1, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(features, 3, 3, 1, 1)]
        self.model = nn.Sequential(*modules)

    def forward(self, x):
        return self.model(x)


def new_norm(conv):
    """Weight normalisation as newer torch writes it."""
    return parametrizations.weight_norm(conv)


def no_norm(conv):
    return conv
