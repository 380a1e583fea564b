"""A card says in which precision and tile its network is used, and a card without that still loads."""

import dataclasses

import pytest
import torch

from sr_core.errors import CheckpointError
from sr_core.models import build
from sr_core.models.card import Card, from_dict
from sr_core.precision import resolve
from sr_core.train.exchange import export_model, import_model, interpolate
from sr_core.train.weights import load_model, save_model
from sr_core.upscale import settings_of, settled

CARD = Card(model="edsr", preset="small", options={"num_blocks": 1, "num_features": 4}, scale=2)
HERE = resolve("auto", torch.device("cpu"))


def network():
    torch.manual_seed(0)
    return build("edsr", scale=2, preset="small", options=CARD.options).eval()


def test_settings_are_those_of_the_card():
    settings = settings_of(dataclasses.replace(CARD, precision="float32", tile=100))
    assert (settings.precision, settings.tile, settings.ensemble) == ("float32", 100, False)
    assert (settings_of(CARD).precision, settings_of(CARD).tile) == ("auto", None)


def test_a_card_is_settled_once():
    once = settled(CARD, network())
    assert (once.precision, settled(once, network())) == (HERE, once)
    assert (once.tile or 0) >= 16
    told = dataclasses.replace(CARD, precision="bf16", tile=77)
    assert settled(told, network()) == told


def test_a_card_of_before_loads_and_a_wrong_field_is_refused():
    old = dataclasses.asdict(CARD)
    del old["precision"], old["tile"]
    assert from_dict(old, where="card.json") == CARD
    for change, said in (
        ({"precision": "fp16"}, "card.json: has precision 'fp16', expected one of auto, bf16, float32"),
        ({"precision": None}, "precision: is None, expected str"),
        ({"tile": 0}, "card.json: has tile 0, expected 1 or more LR pixels, or null"),
        ({"tile": 2.5}, "tile: is 2.5"),
    ):
        with pytest.raises(CheckpointError, match=said):
            from_dict(old | change, where="card.json")


def test_what_is_written_for_others_says_how_it_is_used(tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, network().state_dict(), CARD, {})
    import_model(tmp_path / "a", tmp_path / "imported", None)
    interpolate(tmp_path / "a", tmp_path / "b", 0.5, tmp_path / "between")
    export_model(tmp_path / "a", tmp_path / "a.safetensors")
    expected = settled(CARD, network())
    for name in ("imported", "between", "a.safetensors"):
        card = load_model(tmp_path / name).card
        assert (card.precision, card.tile) == (expected.precision, expected.tile), name
    assert load_model(tmp_path / "a").card.precision == "auto"  # as of before it was recorded
