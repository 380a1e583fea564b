"""The table of networks: a name, its options, its presets, its scales, how it is built.

Every network maps (B, 3, H, W) in 0..255 to (B, 3, S*H, S*W) float32 in about 0..255 and has three attributes:
`scale`; `receptive_field`, the LR pixels on each side of a pixel that can influence its output; and
`scale_dependent`, the beginnings of the names in its state dict that another scale cannot take over.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from sr_core.errors import ConfigError, listed
from sr_core.models.discriminator import check_side
from sr_core.models.edsr import PRESETS as EDSR_PRESETS
from sr_core.models.edsr import Edsr, EdsrConfig
from sr_core.models.interpolation import Bicubic, Bilinear, InterpolationConfig, Lanczos, Nearest
from sr_core.models.rrdb import PRESETS as RRDB_PRESETS
from sr_core.models.rrdb import Rrdb, RrdbConfig
from sr_core.models.srcnn import PRESETS as SRCNN_PRESETS
from sr_core.models.srcnn import Srcnn, SrcnnConfig
from sr_core.models.srresnet import PRESETS as SRRESNET_PRESETS
from sr_core.models.srresnet import SCALES as SRRESNET_SCALES
from sr_core.models.srresnet import Srresnet, SrresnetConfig
from sr_core.models.wdsr import A_PRESETS as WDSR_A_PRESETS
from sr_core.models.wdsr import B_PRESETS as WDSR_B_PRESETS
from sr_core.models.wdsr import WdsrA, WdsrAConfig, WdsrB, WdsrBConfig
from sr_core.params import SCALES, Params


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """One network: the dataclass of its options, named presets of them, and the constructor.

    Options are positive numbers, bools and Literals; `scale` is none of them.
    """

    config: type
    build: Callable[[Any], nn.Module]
    presets: Mapping[str, Mapping[str, Any]]
    scales: tuple[int, ...] = SCALES
    is_trainable: bool = True


def _interpolation(kind: Callable[[int], nn.Module]) -> ModelEntry:
    return ModelEntry(
        config=InterpolationConfig, build=lambda config: kind(config.scale), presets={"small": {}}, is_trainable=False
    )


_SRRESNET = ModelEntry(config=SrresnetConfig, build=Srresnet, presets=SRRESNET_PRESETS, scales=SRRESNET_SCALES)
_RRDB = ModelEntry(config=RrdbConfig, build=Rrdb, presets=RRDB_PRESETS)

MODELS: dict[str, ModelEntry] = {
    "nearest": _interpolation(Nearest),
    "bilinear": _interpolation(Bilinear),
    "bicubic": _interpolation(Bicubic),
    "lanczos": _interpolation(Lanczos),
    "srcnn": ModelEntry(config=SrcnnConfig, build=Srcnn, presets=SRCNN_PRESETS),
    "edsr": ModelEntry(config=EdsrConfig, build=Edsr, presets=EDSR_PRESETS),
    "wdsr_a": ModelEntry(config=WdsrAConfig, build=WdsrA, presets=WDSR_A_PRESETS),
    "wdsr_b": ModelEntry(config=WdsrBConfig, build=WdsrB, presets=WDSR_B_PRESETS),
    "srresnet": _SRRESNET,
    "rrdb": _RRDB,
    "srgan": _SRRESNET,  # the generator of the paper of that name
    "esrgan": _RRDB,
}


def build(name: str, *, scale: int, preset: str, options: Mapping[str, Any]) -> nn.Module:
    """The network `name` with `preset`'s options and then `options`, initialised as its paper says.

    Raises:
        ConfigError: no such model, preset or option (with the nearest name), a value that an option cannot have, or
            a scale that the network does not have.
    """
    config = config_of(name, scale=scale, preset=preset, options=options)
    network: nn.Module = MODELS[name].build(config)
    return network


def check_trainable(params: Params) -> None:
    """What can be known of `params.model`, and of its discriminator, before any work is done for them.

    Raises:
        ConfigError: as `build`, the model has nothing to train, or crops are too small for the discriminator.
    """
    model = params.model
    config_of(model.name, scale=params.data.scale, preset=model.preset, options=model.options)
    if not MODELS[model.name].is_trainable:
        trainable = ", ".join(name for name, entry in MODELS.items() if entry.is_trainable)
        raise ConfigError(f"model.name: {model.name} has no parameters to train, expected one of {trainable}")
    if params.is_adversarial:
        check_side(params.crop * params.data.scale)


def config_of(name: str, *, scale: int, preset: str, options: Mapping[str, Any]) -> Any:
    """The config of the network `name`: its class's defaults, `preset`'s options over them, and then `options`.

    Raises:
        ConfigError: as `build`.
    """
    entry: ModelEntry = _look_up("model.name", name, MODELS)
    values = {**_look_up("model.preset", preset, entry.presets), **options}
    problems = list(_problems(entry, values))
    if scale not in entry.scales:
        has = ", ".join(str(one) for one in entry.scales)
        problems.append(f"data.scale: is {scale}, but {name} exists for {has}: take one of them or another model.name")
    if len(problems) > 1:
        raise ConfigError(f"{len(problems)} parameters of {name} are wrong:{listed(problems)}")
    if problems:
        raise ConfigError(problems[0])
    return entry.config(scale=scale, **values)


def _problems(entry: ModelEntry, options: Mapping[str, Any]) -> Iterator[str]:
    """Every option that the network does not have, and every value that an option cannot have."""
    kinds = typing.get_type_hints(entry.config)
    del kinds["scale"]
    for option, value in options.items():
        key = f"model.options.{option}"
        if option not in kinds:
            yield _no_such(key, option, kinds, "option")
        elif expected := _expected(kinds[option], value):
            yield f"{key}: is {value!r}, expected {expected}"


def _expected(kind: Any, value: Any) -> str | None:
    """What an option of type `kind` takes, or None if it takes `value`."""
    if choices := typing.get_args(kind):  # Literal; true is not 1
        fits = any(value == choice and type(value) is type(choice) for choice in choices)
        return None if fits else f"one of {', '.join(str(choice) for choice in choices)}"
    if kind is bool:
        return None if isinstance(value, bool) else "true or false"
    is_number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    wanted = "a number above 0" if kind is float else "a whole number above 0"
    return None if is_number and 0 < value < math.inf else wanted


def _look_up(key: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise ConfigError(_no_such(key, name, table, "name"))
    return table[name]


def _no_such(key: str, name: str, table: Mapping[str, Any], what: str) -> str:
    near = difflib.get_close_matches(name, list(table), n=1)
    expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(table) or 'none'}"
    return f"{key}: no such {what} {name!r}; {expected}"
