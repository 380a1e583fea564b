"""What must be known of a weight file to use and to trace it; stored beside the weights as card.json."""

import dataclasses
from collections.abc import Mapping
from typing import Any

CARD_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One trained network: how to build it, what it was trained on, and how good it was when it was saved."""

    model: str
    preset: str
    options: Mapping[str, Any]
    scale: int
    degradation: str
    dataset: str
    data_digest: str
    params_digest: str
    run: str  # name of the run directory
    step: int
    git_commit: str | None
    protocol: str
    valid_psnr: float | None  # mean over the images validated while training, dB, by `protocol`
    weights_sha256: str = ""  # filled in when the weights are written
    licence: str = "the photographs' licences apply: see the data set's SOURCES.md"
    version: int = CARD_VERSION
