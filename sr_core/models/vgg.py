"""VGG-19's features, whose distance is the content loss of SRGAN and ESRGAN (Simonyan and Zisserman, arXiv 1409.1556).

VGG54 is the fourth convolution before the fifth pooling, VGG22 the second before the second (Ledig et al. 2017,
section 2.2.1). The modules have torchvision's names, and of its weights only those up to the layer are used.

Shapes: B batch, C features of the layer, H W size of the images, D what pooling divides it by (VGG54 16, VGG22 2).
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from sr_core.errors import CheckpointError

VggLayer = Literal["vgg22", "vgg54"]

# numbers of output channels; 0 is a pooling. torchvision's configuration E without the last pooling
_LAYOUT = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
_LAST_CONV: dict[VggLayer, int] = {"vgg22": 7, "vgg54": 34}  # its index in torchvision's `features`
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in 0..1
_DIVISOR = 12.75  # SRGAN, section 3.2: brings the squared error to the size of a pixel loss


class VggFeatures(nn.Module):
    """(B, 3, H, W) RGB on 0..1 -> (B, C, H/D, W/D) float32; ImageNet's mean and deviation are applied here.

    After the activation, as SRGAN takes them, features are divided by 12.75 (both layers: the paper says it of "VGG
    feature maps"). Before the activation, as ESRGAN takes VGG54, they are as they are. The weights never train; until
    `fill` was called they are NaN, so that nothing is ever compared by random features unnoticed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layer: VggLayer = "vgg54", *, before_activation: bool = False) -> None:
        super().__init__()
        self.divisor = 1.0 if before_activation else _DIVISOR
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.features = nn.Sequential(*_modules()[: _LAST_CONV[layer] + (1 if before_activation else 2)])
        for parameter in self.parameters():
            nn.init.constant_(parameter, math.nan)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/D, W/D); the gradient goes on to `x`."""
        out: Tensor = self.features((x - self.mean) / self.std)
        return out.float() / self.divisor

    def fill(self, state: Mapping[str, Tensor]) -> None:
        """Takes the weights from a state dict of torchvision's VGG-19; what lies behind the layer is ignored.

        Raises:
            CheckpointError: a weight is absent or of another shape (the first one, and both shapes).
        """
        for name, own in self.state_dict().items():
            found = state.get(name)
            if found is None or found.shape != own.shape:
                shape = "absent" if found is None else tuple(found.shape)
                raise CheckpointError(
                    f"VGG-19 weights: {name} is {shape}, expected shape {tuple(own.shape)}; "
                    "take torchvision's vgg19-dcbb9e9d.pth"
                )
            own.copy_(found)


def _modules() -> list[nn.Module]:
    modules: list[nn.Module] = []
    num_in = 3
    for num_out in _LAYOUT:
        if num_out == 0:
            modules.append(nn.MaxPool2d(2))
        else:
            modules += [nn.Conv2d(num_in, num_out, 3, padding=1), nn.ReLU(inplace=True)]
            num_in = num_out
    return modules
