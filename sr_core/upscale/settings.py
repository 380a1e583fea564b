"""How a picture is enlarged: what a card says, or whoever calls."""

import dataclasses
from typing import Literal

AnyPrecision = Literal["auto", "bf16", "float32"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a picture is enlarged."""

    precision: AnyPrecision = "auto"
    tile: int | None = None  # side in LR pixels; None: from memory_bytes
    memory_bytes: int | None = None  # what the work may take beside picture, result and network; None: the default
    ensemble: bool = False  # the mean over the 8 symmetries (EDSR+)
