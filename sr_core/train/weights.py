"""Networks' weights in and out: the model directories that training publishes.

A model directory holds `weights.safetensors` and `card.json`, which says what network they are for and their sha256.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sr_core import files, models
from sr_core.errors import CheckpointError
from sr_core.models.card import CARD_VERSION, Card
from sr_core.params import SCALES
from sr_core.train.checkpoint import read_tensors, write_tensors

WEIGHTS, CARD = "weights.safetensors", "card.json"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A network ready to use (evaluation mode, float32, on the CPU) and its card."""

    network: nn.Module
    card: Card


def save_model(directory: Path, weights: Mapping[str, Tensor], card: Card, extra: Mapping[str, str]) -> Card:
    """Writes a model directory: weights, card with the weights' sha256, and text files `extra` by name."""
    with files.commit_directory(directory) as partial:
        write_tensors(partial / WEIGHTS, weights)
        card = dataclasses.replace(card, weights_sha256=files.record_of(partial / WEIGHTS).sha256)
        for name, text in extra.items():
            files.write_atomic(partial / name, text)
        files.write_atomic(partial / CARD, files.to_json(dataclasses.asdict(card)))
    return card


def read_card(directory: Path) -> Card:
    """The card in a model directory.

    Raises:
        CheckpointError: there is none, or it is not one.
    """
    try:
        card = Card(**json.loads((directory / CARD).read_text()))
    except FileNotFoundError:
        raise CheckpointError(f"{directory / CARD}: missing; expected a model directory: train first") from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{directory / CARD}: is not a model card ({error})") from None
    texts = (card.model, card.preset, card.weights_sha256)
    if (
        card.version != CARD_VERSION
        or card.scale not in SCALES
        or not all(isinstance(text, str) for text in texts)
        or not isinstance(card.options, dict)
    ):
        raise CheckpointError(f"{directory / CARD}: is damaged or of another version; train the model again")
    return card


def load_model(directory: Path) -> LoadedModel:
    """Builds the network that the card in `directory` describes and fills in the weights.

    Raises:
        CheckpointError: card or weights are missing or damaged, or do not belong together.
        ConfigError: the card names a network this version does not have.
    """
    card = read_card(directory)
    path = directory / WEIGHTS
    found = files.record_of(path).sha256 if path.is_file() else "no file"
    if found != card.weights_sha256:
        raise CheckpointError(
            f"{path}: sha256 is {found[:12]}, its card says {card.weights_sha256[:12]}; fetch or train the model again"
        )
    network = models.build(card.model, scale=card.scale, preset=card.preset, options=card.options)
    _fill(network, read_tensors(path), path)
    return LoadedModel(network=network.eval().requires_grad_(False), card=card)


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        expected = tuple(own[name].shape) if name in own else "no such tensor"
        shape = tuple(tensors[name].shape) if name in tensors else "absent"
        if expected != shape:
            raise CheckpointError(f"{path}: {name} is {shape}, the network has {expected}")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; take another checkpoint")
    network.load_state_dict(tensors)
