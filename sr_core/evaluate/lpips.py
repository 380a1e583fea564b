"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1.

The features of AlexNet or VGG-16 behind five of their activations, each normalised over its channels; the squared
differences of two images, weighted by channel by what people said of such pairs, averaged over the places, summed over
the five. Lower is better, 0 is equal. https://github.com/richzhang/PerceptualSimilarity

The weights are others' and come in files: torchvision's backbone (`alexnet-owt-7be5be79.pth`, `vgg16-397923af.pth`)
and the authors' linear layers (`lpips/weights/v0.1/alex.pth`, `vgg.pth`), or one file that holds both as the authors'
module does (`net.slice1.0.weight`, …). Which network it is, their shapes tell.

Shapes: H W HR size, C channels of a layer.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_core.errors import CheckpointError, listed
from sr_core.evaluate.records import Learned
from sr_core.files import digest_of, sha256_bytes

Backbone = Literal["alex", "vgg"]

LEAST_SIDE = 32  # pixels; of smaller images nothing is left behind the poolings
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB on -1..1: ImageNet's mean and deviation
_EPSILON = 1e-10
_EXPECTED = (
    "expected torchvision's alexnet-owt-7be5be79.pth and the authors' v0.1/alex.pth, or vgg16-397923af.pth and "
    "v0.1/vgg.pth, or one file with both"
)
_LINEAR = re.compile(r"lin(?:s\.)?(\d)\.(?:model\.)?1\.weight")
_SLICED = re.compile(r"net\.slice\d\.(\d+\.(?:weight|bias))")

# (input, output, kernel, stride, padding); an integer is a max pooling of that side with stride 2
_ALEX: tuple[tuple[int, int, int, int, int] | int, ...] = (
    (3, 64, 11, 4, 2), 3, (64, 192, 5, 1, 2), 3, (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1),
)  # fmt: skip
_VGG: tuple[tuple[int, int, int, int, int] | int, ...] = (
    (3, 64, 3, 1, 1), (64, 64, 3, 1, 1), 2, (64, 128, 3, 1, 1), (128, 128, 3, 1, 1), 2,
    (128, 256, 3, 1, 1), (256, 256, 3, 1, 1), (256, 256, 3, 1, 1), 2,
    (256, 512, 3, 1, 1), (512, 512, 3, 1, 1), (512, 512, 3, 1, 1), 2,
    (512, 512, 3, 1, 1), (512, 512, 3, 1, 1), (512, 512, 3, 1, 1),
)  # fmt: skip
_LAYOUT = {"alex": _ALEX, "vgg": _VGG}
_TAPS: Mapping[Backbone, tuple[int, ...]] = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # in `features`
_CHANNELS: Mapping[Backbone, tuple[int, ...]] = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lpips:
    """The distance by one backbone's weights."""

    backbone: Backbone
    features: nn.Sequential  # torchvision's, up to the last tap
    linear: tuple[Tensor, ...]  # (C,) of each tap
    digest: str  # of all weights
    files: tuple[str, ...]  # where they came from

    def distance(self, sr: NDArray[np.uint8], hr: NDArray[np.uint8], *, crop: int = 0) -> float | None:
        """LPIPS of (H, W, 3) uint8 images, `crop` pixels of the border left out; None where they are too small."""
        inside = slice(crop, -crop or None)
        pair = [np.ascontiguousarray(image[inside, inside]) for image in (sr, hr)]
        if min(pair[0].shape[:2]) < LEAST_SIDE:
            return None
        return self._distance(*(torch.from_numpy(image).permute(2, 0, 1)[None] for image in pair))

    @torch.inference_mode()
    def _distance(self, sr: Tensor, hr: Tensor) -> float:
        # one after the other: the first layers of a large image take hundreds of megabytes
        x, y = (_normalised(image) for image in (sr, hr))  # (1, 3, H, W)
        total = 0.0
        weights = iter(self.linear)
        for i, module in enumerate(self.features):
            x, y = module(x), module(y)
            if i in _TAPS[self.backbone]:
                difference = (_unit(x) - _unit(y)) ** 2  # (1, C, h, w)
                total += float(torch.einsum("c,chw->hw", next(weights), difference[0]).mean())
        return total

    @property
    def label(self) -> str:
        """What stands beside every figure."""
        return f"LPIPS 0.1 ({self.backbone}; {', '.join(self.files)}; {self.digest[:8]})"

    def record(self, scale: int) -> Learned:
        """What is said of these scores in a report at `scale`."""
        return Learned(label=self.label, digest=self.digest, crop=scale)


def make(states: Mapping[str, Mapping[str, Tensor]]) -> Lpips:
    """LPIPS by the state dicts `states`, by the names of their files.

    Raises:
        CheckpointError: they are not the weights of one backbone and its linear layers; lists all that is wrong.
    """
    where = ", ".join(states)
    tensors = {_plain_name(name): tensor for state in states.values() for name, tensor in state.items()}
    first = tensors.get("features.0.weight")
    kinds: dict[tuple[int, ...], Backbone] = {(64, 3, 11, 11): "alex", (64, 3, 3, 3): "vgg"}
    backbone = kinds.get(tuple(first.shape)) if first is not None else None
    if backbone is None:
        found = "absent" if first is None else tuple(first.shape)
        raise CheckpointError(f"evaluate.lpips_weights: {where}: features.0.weight is {found}; {_EXPECTED}")
    features = nn.Sequential(*_modules(_LAYOUT[backbone]))
    wanted = {f"features.{name}": tuple(tensor.shape) for name, tensor in features.state_dict().items()}
    wanted |= {f"lin{i}.weight": (1, channels, 1, 1) for i, channels in enumerate(_CHANNELS[backbone])}
    wrong = list(_wrong(wanted, tensors))
    if wrong:
        raise CheckpointError(
            f"evaluate.lpips_weights: {where}: are not LPIPS's for {backbone}; {_EXPECTED}:{listed(wrong)}"
        )
    features.load_state_dict({name: tensors[f"features.{name}"].float() for name in features.state_dict()})
    return Lpips(
        backbone=backbone,
        features=features.eval().requires_grad_(False),
        linear=tuple(tensors[f"lin{i}.weight"].float().flatten() for i in range(len(_TAPS[backbone]))),
        digest=digest_of([[name, _digest(tensors[name])] for name in sorted(wanted)]),
        files=tuple(states),
    )


def _plain_name(name: str) -> str:
    """Torchvision's name of a backbone's tensor, `lin0.weight` of a linear layer's, whatever module they lay in."""
    if match := _LINEAR.fullmatch(name):
        return f"lin{match[1]}.weight"
    match = _SLICED.fullmatch(name)
    return f"features.{match[1]}" if match else name


def _wrong(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> Sequence[str]:
    lines = []
    for name, shape in wanted.items():
        found = tensors.get(name)
        if found is None or tuple(found.shape) != shape:
            lines.append(f"{name}: is {'absent' if found is None else tuple(found.shape)}, expected {shape}")
        elif not bool(torch.isfinite(found).all()):
            lines.append(f"{name}: holds NaN or infinity")
        elif name.startswith("lin") and bool((found < 0).any()):
            lines.append(f"{name}: has weights below 0, by which a distance would be none")
    return lines


def _modules(layout: Sequence[tuple[int, int, int, int, int] | int]) -> list[nn.Module]:
    modules: list[nn.Module] = []
    for part in layout:
        if isinstance(part, int):
            modules.append(nn.MaxPool2d(part, 2))
        else:
            num_in, num_out, kernel, stride, padding = part
            # not in place: what a tap gave is still needed
            modules += [nn.Conv2d(num_in, num_out, kernel, stride, padding), nn.ReLU()]
    return modules


def _normalised(image: Tensor) -> Tensor:
    """(1, 3, H, W) 0..255 -> as LPIPS's scaling layer has it."""
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
    return (image.float() / 127.5 - 1 - shift) / scale


def _unit(features: Tensor) -> Tensor:
    """(1, C, h, w) with each place's vector of length 1."""
    return features / (features.pow(2).sum(1, keepdim=True).sqrt() + _EPSILON)


def _digest(tensor: Tensor) -> str:
    return sha256_bytes(tensor.detach().cpu().float().contiguous().numpy().tobytes())
