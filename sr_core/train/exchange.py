"""Weights from elsewhere and for elsewhere: import an author's file, export a single file, interpolate two networks.

Interpolation is that of ESRGAN (Wang et al. 2018, section 3.4): every parameter is (1 - alpha) * A + alpha * B of two
networks of which B was trained from A on. Between the PSNR-oriented and the adversarial one it trades artefacts for
detail, with no training.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from sr_core import files
from sr_core.config import changes
from sr_core.errors import CheckpointError, ConfigError, SrError
from sr_core.models import config_of
from sr_core.models.card import UNKNOWN, Card, Parent
from sr_core.models.layouts.reading import Given
from sr_core.models.wdsr import Wdsr
from sr_core.train import weights
from sr_core.train.run import git_commit
from sr_core.train.weights import CARD, IN_METADATA, SAFETENSORS, LoadedModel, check_tensors, digest_of, load_model
from sr_core.upscale import settled


def given_by(overrides: Sequence[str]) -> Given:
    """What `overrides` like `model.options.res_scale=0.1` say of a file.

    Raises:
        ConfigError: lists every key that says nothing of it, or a value of a wrong type.
    """
    tree = changes(overrides)
    flat = {f"{section}.{key}": value for section in tree for key, value in _items(tree[section])}
    name, options, scale = flat.pop("model.name", None), flat.pop("model.options", {}), flat.pop("data.scale", None)
    if flat or not isinstance(options, dict) or not isinstance(name, str | None) or not isinstance(scale, int | None):
        raise ConfigError(
            f"--set {' '.join(overrides)}: a weight file is known by model.name, data.scale and options such as "
            "model.options.res_scale, expected one of those"
        )
    return Given(model=name, scale=scale, options=options)


def _items(section: Any) -> list[tuple[str, Any]]:
    return list(section.items()) if isinstance(section, dict) else [("", section)]


def import_model(source: Path, directory: Path, given: Given, *, overwrite: bool = False) -> LoadedModel:
    """Writes the network of an author's file, or of anything `load_model` takes, as a model directory.

    Raises:
        CheckpointError: as `load_model`.
        ConfigError: what is given is no option of the network.
        SrError: something is at `directory` already.
    """
    check_target(directory, overwrite=overwrite)
    loaded = load_model(source, given)
    card = dataclasses.replace(loaded.card, git_commit=loaded.card.git_commit or git_commit())
    card = settled(card, loaded.network)
    card = weights.save_model(directory, loaded.network.state_dict(), card, {})
    return dataclasses.replace(loaded, card=card)


def export_model(source: Path, target: Path, *, overwrite: bool = False) -> Card:
    """Writes the network at `source` as one .safetensors file with its card inside, weight normalisation fused.

    Raises:
        CheckpointError: as `load_model`.
        SrError: `target` has another ending, or is there already.
    """
    if target.suffix != SAFETENSORS:
        raise SrError(f"{target}: expected a name that ends in {SAFETENSORS}, the only format written")
    if target.exists() and not overwrite:
        raise SrError(f"{target}: exists already; choose another name or add --overwrite")
    loaded = load_model(source)
    network, options = loaded.network, dict(loaded.card.options)
    if isinstance(network, Wdsr):
        network, options = network.fused(), options | {"weight_norm": False}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    card = dataclasses.replace(settled(loaded.card, network), options=options, weights_sha256=digest_of(tensors))
    metadata = {"format": "pt", IN_METADATA: json.dumps(dataclasses.asdict(card), sort_keys=True)}
    files.write_atomic(target, safetensors.torch.save(tensors, metadata))
    return card


def interpolate(first: Path, second: Path, alpha: float, directory: Path, *, overwrite: bool = False) -> Card:
    """Writes (1 - alpha) * first + alpha * second, two networks of equal architecture, as a model directory.

    Raises:
        ConfigError: alpha is not in 0..1.
        CheckpointError: as `load_model`; the networks differ (says the first option or tensor that does).
        SrError: something is at `directory` already.
    """
    check_target(directory, overwrite=overwrite)
    one, other = load_model(first), load_model(second)
    tensors = blended(one, other, alpha)
    parents = (_parent(one.card, 1 - alpha), _parent(other.card, alpha))
    card = dataclasses.replace(
        other.card, parents=parents, run=UNKNOWN, valid_psnr=None, origin=None, git_commit=git_commit()
    )
    return weights.save_model(directory, tensors, settled(card, other.network), {})


def blended(first: LoadedModel, second: LoadedModel, alpha: float) -> dict[str, Tensor]:
    """(1 - alpha) * first + alpha * second by name; of what is counted in whole numbers, second's.

    Raises:
        ConfigError: alpha is not in 0..1.
        CheckpointError: the networks differ (says the first option or tensor that does).
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha}, expected a number from 0 (the first network) to 1 (the second)")
    one, other = first.network.state_dict(), second.network.state_dict()
    check_tensors(first.network, other, "the second network", f"the first, {first.card.model} x{first.card.scale},")
    for name, value in _config(first.card).items():
        if _config(second.card).get(name, value) != value:
            found = _config(second.card)[name]
            raise CheckpointError(f"the second network has {name} {found}, the first {value}; expected equal networks")
    return {
        name: (1 - alpha) * tensor + alpha * other[name] if tensor.is_floating_point() else other[name]
        for name, tensor in one.items()
    }


def _config(card: Card) -> Mapping[str, Any]:
    return dataclasses.asdict(config_of(card.model, scale=card.scale, preset=card.preset, options=card.options))


def _parent(card: Card, weight: float) -> Parent:
    return Parent(model=card.model, run=card.run, weights_sha256=card.weights_sha256, weight=weight)


def check_target(directory: Path, *, overwrite: bool) -> None:
    """Whether a model directory may be written at `directory`, where it would replace whatever is there.

    Raises:
        SrError: a model is there and `overwrite` is false, or something else is.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / CARD).is_file():
        raise SrError(f"{directory}: exists and is no model directory; choose another name")
    if not overwrite:
        raise SrError(f"{directory}: holds a model already; choose another name or add --overwrite")
