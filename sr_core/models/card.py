"""What must be known of a weight file to use and to trace it: card.json beside the weights, or text inside the file.

A card is read strictly: a field of another type, an unknown one or another version is refused, and so are weights whose
sha256 is not the card's.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from sr_core.errors import CheckpointError, listed
from sr_core.params import SCALES

CARD_VERSION = 1
UNKNOWN = "unknown"  # of weights that were trained elsewhere
COLOURS = "RGB"
PRECISIONS = ("auto", "bf16", "float32")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The file that imported weights came in."""

    file: str
    sha256: str  # of that file
    names: str  # whose names the tensors had: EDSR-PyTorch, BasicSR, …


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """A network that went into an interpolated one, and its weight in the sum."""

    model: str
    run: str
    weights_sha256: str
    weight: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One trained network: how to build it, what it was trained on, and how good it was when it was saved."""

    model: str
    preset: str
    options: Mapping[str, Any]
    scale: int
    degradation: str = UNKNOWN
    dataset: str = UNKNOWN
    data_digest: str = UNKNOWN
    params_digest: str = UNKNOWN
    run: str = UNKNOWN  # name of the run directory
    step: int = 0  # 0: unknown
    git_commit: str | None = None
    protocol: str = UNKNOWN
    valid_psnr: float | None = None  # mean over the images validated while training, dB, by `protocol`
    colours: str = COLOURS  # in the order of the network's inputs and outputs
    precision: str = "auto"  # in which it is used, so that every machine gives the same; auto: as the machine is fast
    tile: int | None = None  # side in LR pixels by which it is used; None: from the default budget of memory
    origin: Origin | None = None  # of imported weights
    parents: tuple[Parent, ...] = ()  # of interpolated weights
    weights_sha256: str = ""  # filled in when they are written: of their file; of the tensors where the card is inside
    licence: str = "the photographs' licences apply: see the data set's SOURCES.md"
    version: int = CARD_VERSION


def from_dict(values: object, *, where: str) -> Card:
    """`values`, as JSON has them, as a card; `where` is named in the error.

    Raises:
        CheckpointError: lists every field that is missing, unknown or of another type, or says that the version, the
            scale, the precision, the tile or the order of colours is none that is known here.
    """
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where}: is no model card but {type(values).__name__}; expected fields such as model")
    if values.get("version") != CARD_VERSION:
        raise CheckpointError(
            f"{where}: is damaged or of another version ({values.get('version')!r}, expected {CARD_VERSION}); "
            "write the model anew with this version of sr_core"
        )
    problems: list[str] = []
    card: Card | None = _build(Card, values, "", problems)
    if card is None or problems:
        raise CheckpointError(f"{where}: is not a model card, {len(problems)} wrong:{listed(problems)}")
    if card.scale not in SCALES:
        raise CheckpointError(f"{where}: has scale {card.scale}, expected 2, 3, 4 or 8; take the card of this model")
    if card.precision not in PRECISIONS:
        raise CheckpointError(f"{where}: has precision {card.precision!r}, expected one of {', '.join(PRECISIONS)}")
    if card.tile is not None and card.tile < 1:
        raise CheckpointError(f"{where}: has tile {card.tile}, expected 1 or more LR pixels, or null")
    if card.colours != COLOURS:
        raise CheckpointError(
            f"{where}: is of a network for {card.colours} images, expected {COLOURS}; exchange the colours of its "
            "first and last convolution, and import it again"
        )
    return card


def _build(kind: type, values: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    before, hints = len(problems), typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    problems += [f"{prefix}{name}: no such field" for name in values if name not in fields]
    built = {}
    for name, field in fields.items():
        if name in values:
            built[name] = _read(hints[name], values[name], f"{prefix}{name}", problems)
        elif field.default is dataclasses.MISSING:
            problems.append(f"{prefix}{name}: is missing")
    return kind(**built) if len(problems) == before else None


def _read(hint: Any, value: Any, key: str, problems: list[str]) -> Any:
    """`value` as `hint`'s type, or a line in `problems`."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
        if value is None:
            return None
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)[0]
        return tuple(_read(inner, item, f"{key}[{i}]", problems) for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return _build(hint, value, f"{key}.", problems)
    expected = typing.get_origin(hint) or hint
    fits = isinstance(value, int | float if expected is float else expected) and not isinstance(value, bool)
    if not fits:
        problems.append(f"{key}: is {value!r}, expected {getattr(hint, '__name__', hint)}")
    return value
