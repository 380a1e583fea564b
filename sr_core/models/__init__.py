"""The table of networks: a name, its options, its presets, how it is built.

Every network maps (B, 3, H, W) in 0..255 to (B, 3, S*H, S*W) float32 in 0..255 and has two attributes:
`scale`, and `receptive_field`, the LR pixels on each side of a pixel that can influence its output.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from sr_core.errors import ConfigError
from sr_core.models.bicubic import Bicubic
from sr_core.models.edsr import PRESETS as EDSR_PRESETS
from sr_core.models.edsr import Edsr, EdsrConfig
from sr_core.params import Params


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BicubicConfig:
    """Bicubic interpolation has a scale and nothing else."""

    scale: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """One network: the dataclass of its options, named presets of them, and the constructor."""

    config: type
    build: Callable[[Any], nn.Module]
    presets: Mapping[str, Mapping[str, Any]]
    is_trainable: bool = True


MODELS: dict[str, ModelEntry] = {
    "bicubic": ModelEntry(
        config=BicubicConfig, build=lambda config: Bicubic(config.scale), presets={"small": {}}, is_trainable=False
    ),
    "edsr": ModelEntry(config=EdsrConfig, build=Edsr, presets=EDSR_PRESETS),
}


def build(name: str, *, scale: int, preset: str, options: Mapping[str, Any]) -> nn.Module:
    """The network `name` with `preset`'s options and then `options`, initialised as its paper says.

    Raises:
        ConfigError: no such model, preset or option (with the nearest name), or an option of a wrong type.
    """
    config = _config(name, scale=scale, preset=preset, options=options)
    network: nn.Module = MODELS[name].build(config)
    return network


def check_trainable(params: Params) -> None:
    """What can be known of `params.model` before any work is done for it.

    Raises:
        ConfigError: as `build`, or the model has nothing to train.
    """
    model = params.model
    _config(model.name, scale=params.data.scale, preset=model.preset, options=model.options)
    if not MODELS[model.name].is_trainable:
        trainable = ", ".join(name for name, entry in MODELS.items() if entry.is_trainable)
        raise ConfigError(f"model.name: {model.name} has no parameters to train, expected one of {trainable}")


_KINDS = {int: "a whole number", float: "a number"}


def _config(name: str, *, scale: int, preset: str, options: Mapping[str, Any]) -> Any:
    entry: ModelEntry = _look_up("model.name", name, MODELS)
    values = {**_look_up("model.preset", preset, entry.presets), **options}
    fields = {field.name: field.type for field in dataclasses.fields(entry.config) if field.name != "scale"}
    for option, value in values.items():
        kind = _look_up(f"model.options.{option}", option, fields, is_key=True)
        if isinstance(value, bool) or not isinstance(value, int | float if kind is float else int) or value <= 0:
            raise ConfigError(f"model.options.{option}: is {value!r}, expected {_KINDS[kind]} above 0")
    return entry.config(scale=scale, **values)


def _look_up(key: str, name: str, table: Mapping[str, Any], *, is_key: bool = False) -> Any:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, list(table), n=1)
    expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(table) or 'none'}"
    raise ConfigError(f"{key}: no such {'option' if is_key else 'name'} {name!r}; {expected}")
