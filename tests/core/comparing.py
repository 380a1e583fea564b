"""Tiny models and images for the tests of comparisons."""

from pathlib import Path

import torch

from sr_core import models
from sr_core.compare.run import Choice
from sr_core.compare.sets import Wanted
from sr_core.models.card import Card
from sr_core.train.weights import LoadedModel, save_model

CHOICE = Choice(rounds=1, num_pictures=2)


def wanted(*folders, degradations=("bicubic",), scale=2, **others):
    """Test images of folders."""
    return Wanted(folders=tuple(map(str, folders)), scale=scale, degradations=tuple(degradations), **others)


def network_of(model="edsr", *, scale=2, seed=0, features=4):
    """A tiny network and the options that make it."""
    torch.manual_seed(seed)
    options = {"num_blocks": 1, "num_features": features} if model == "edsr" else {}
    return models.build(model, scale=scale, preset="small", options=options).eval(), options


def loaded(model="edsr", *, scale=2, seed=0, sha256=None, **card):
    """A model as if it had been read from a file."""
    network, options = network_of(model, scale=scale, seed=seed)
    digits = f"{seed:02x}" * 32 if sha256 is None else sha256
    made = Card(model=model, preset="small", options=options, scale=scale, weights_sha256=digits, **card)
    return LoadedModel(network=network, card=made)


def publish(directory: Path, model="edsr", *, scale=2, seed=0, **card):
    """A model directory of a tiny network."""
    network, options = network_of(model, scale=scale, seed=seed)
    save_model(
        directory, network.state_dict(), Card(model=model, preset="small", options=options, scale=scale, **card), {}
    )
    return directory
