"""By what the content of images is compared in training against a discriminator, and where VGG-19's weights are from.

torchvision's file holds the first 8 hex digits of its sha256 in its name. It is fetched once per data folder, goes on
after an interruption, and is checked against those digits; or `adversarial.vgg_weights` names a copy of it.
"""

from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn

from sr_core.data.fetch import Download, fetch
from sr_core.errors import CheckpointError, ConfigError
from sr_core.models.vgg import VggFeatures
from sr_core.params import Params
from sr_core.progress import Progress
from sr_core.train import weights

VGG_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
_TWO_WAYS = (
    "set adversarial.vgg_weights to the path of torchvision's vgg19-dcbb9e9d.pth, "
    "or adversarial.content to pixel or none, which need no such file"
)


def extractor(params: Params, device: torch.device, progress: Progress, *, url: str = VGG_URL) -> nn.Module | None:
    """What maps (B, 3, H, W) on 0..1 to what the content loss compares, frozen and on `device`; None: no such loss.

    Raises:
        ConfigError, SourceError: VGG-19's weights cannot be had; the error names both ways out.
        CheckpointError: the file holds something else.
    """
    content = params.adversarial.content
    if not _is_compared(params) or content == "none":
        return None
    if content == "pixel":
        return nn.Identity()
    path = vgg_file(params, progress, url=url)
    network = VggFeatures(layer=content, before_activation=params.adversarial.before_activation)
    state = weights.load_state(path)
    try:
        network.fill(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    for name, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; {_TWO_WAYS}")
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def needs_vgg(params: Params) -> bool:
    """Whether VGG-19's weights are asked for."""
    return _is_compared(params) and params.adversarial.content.startswith("vgg")


def _is_compared(params: Params) -> bool:
    return params.is_adversarial and params.adversarial.content_weight > 0


def vgg_file(params: Params, progress: Progress, *, url: str = VGG_URL) -> Path:
    """The file that holds VGG-19's weights: the one that is named, or that in <data.root>/weights, fetched if absent.

    Several processes may call this at once: one of them fetches, the others wait for it.

    Raises:
        ConfigError: there is no file of the name in `adversarial.vgg_weights`.
        SourceError: the file cannot be fetched, or is not torchvision's.
    """
    if (named := params.adversarial.vgg_weights) is not None:
        path = Path(named)
        if not path.is_file():
            raise ConfigError(f"adversarial.vgg_weights: {path} is no file; {_TWO_WAYS}")
        return path
    name = Path(urlsplit(url).path).name
    digits = Path(name).stem.rpartition("-")[2]
    download = Download(name=name, url=url, sha256_prefix=digits, advice=_TWO_WAYS)
    return fetch([download], Path(params.data.root) / "weights", parallel=1, progress=progress)[name]
