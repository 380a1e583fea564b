"""The parameters of a run: params.yaml as typed, frozen values, checked all at once.

`load` reads a file, applies `key=value` overrides, and raises one ConfigError that lists every unknown key
(with the nearest valid name), every value of a wrong type and every value out of range.

`Params.digest` covers what determines the trained weights apart from the data's bytes (those have digests of
their own), so that changing where or how widely a job runs never makes it another run.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from sr_core.errors import ConfigError, listed
from sr_core.files import digest_of

ProtocolName = Literal["benchmark-y", "div2k-rgb", "whole-rgb"]
SCALES = (2, 3, 4, 8)
MOST_THREADS = 1024  # far more than cores crash the process
Problems = Iterator[tuple[str, str]]  # (key within the section, what is wrong and what was expected)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataParams:
    """Which photographs, how they are degraded, and how they lie in the shards."""

    source: Literal["sample", "folder", "div2k"] = "sample"
    root: str = "data"  # holds raw/, shards/, runs/, models/ and reports/
    folder: str | None = None  # source: folder only; your photographs
    scale: int = 4
    degradation: str = "bicubic"
    crop: int = 48  # side of a training crop in LR pixels
    patch: int | None = None  # side of a stored patch in HR pixels; null: the smallest with stored/raw <= 3
    shard_bytes: int = 64 * 2**20  # a shard of HR patches is closed at about this size
    num_writers: int = 2  # processes that build shards

    def problems(self) -> Problems:
        """Every value out of range."""
        if self.scale not in SCALES:
            yield "scale", f"is {self.scale}, expected 2, 3, 4 or 8"
        if self.degradation not in {"bicubic", "unknown"}:
            yield "degradation", f"is {self.degradation!r}, expected bicubic or unknown"
        if (self.source == "folder") != (self.folder is not None):
            yield "folder", f"is {self.folder!r}, expected a path when data.source is folder, and null otherwise"
        yield from _at_least(self, crop=8, shard_bytes=1, num_writers=1)
        if self.patch is not None and self.patch % self.scale:
            yield "patch", f"is {self.patch}, expected a multiple of data.scale {self.scale}"
        if self.patch is not None and self.patch < self.crop * self.scale:
            yield (
                "patch",
                f"is {self.patch} HR pixels, but a crop is {self.crop} x {self.scale} = {self.crop * self.scale}: "
                "expected a patch at least as large as the crop; raise data.patch or lower data.crop",
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelParams:
    """Which network, and where it departs from its preset."""

    name: str = "edsr"
    preset: str = "small"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of the network's config

    def problems(self) -> Problems:
        """Every value out of range (the table of networks checks its own names)."""
        for key in self.options:
            if not isinstance(key, str):
                yield "options", f"has the key {key!r}, expected names such as num_blocks"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainParams:
    """The schedule, the optimizer, and what the loop does every so many steps."""

    steps: int = 300_000
    batch: int = 16  # crops per step over all ranks
    loss: Literal["l1"] = "l1"
    lr: float = 1e-4
    lr_milestones: tuple[int, ...] = (200_000,)  # steps at which lr is multiplied by lr_decay
    lr_decay: float = 0.5
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = 1e-8
    ema_decay: float = 0.999  # 0: no EMA, the trained weights are validated and published
    clip_norm: float = 0.0  # largest global gradient norm; 0: no clipping
    augment: bool = True  # the eight symmetries of the square
    precision: Literal["auto", "bf16", "float32"] = "auto"
    compile: bool = False
    deterministic: bool = False  # CUDA: bit-exact kernels, slower; on CPU training is bit-exact anyway
    num_threads: int | None = None  # torch threads per rank; null: cores / ranks on this host
    log_every: int = 100
    eval_every: int = 1000
    eval_images: int = 10
    eval_protocol: ProtocolName = "benchmark-y"  # by which the best weights are told
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    collective_timeout_s: float = 300.0

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from _at_least(
            self, steps=1, batch=1, log_every=1, eval_every=1, eval_images=1, checkpoint_every=1, keep_checkpoints=2
        )
        for name in ("lr", "lr_decay", "adam_eps", "collective_timeout_s"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                yield name, f"is {getattr(self, name)}, expected a finite number above 0"
        if not 0 <= self.ema_decay < 1:
            yield "ema_decay", f"is {self.ema_decay}, expected 0 (off) or a number below 1, such as 0.999"
        if not (self.clip_norm >= 0 and math.isfinite(self.clip_norm)):
            yield "clip_norm", f"is {self.clip_norm}, expected 0 (off) or a finite number above 0"
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            yield "adam_betas", f"is {list(self.adam_betas)}, expected two numbers in 0 <= beta < 1"
        if list(self.lr_milestones) != sorted(set(self.lr_milestones)) or min(self.lr_milestones, default=1) < 1:
            yield "lr_milestones", f"is {list(self.lr_milestones)}, expected increasing steps from 1 on"
        if self.num_threads is not None and not 1 <= self.num_threads <= MOST_THREADS:
            yield "num_threads", f"is {self.num_threads}, expected null, or 1 to {MOST_THREADS}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateParams:
    """By which protocol a finished model is measured."""

    protocol: ProtocolName = "benchmark-y"

    def problems(self) -> Problems:
        """Every value out of range: none, the type says it all."""
        return iter(())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LaunchParams:
    """How Ray Train runs the job. Never part of the digest."""

    num_workers: int = 2
    use_gpu: bool = False
    cpus_per_worker: int = 1
    address: str = "local"  # a Ray cluster's address; local: one of our own on this machine
    max_failures: int = 3  # restarts of the worker group before the job fails

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from _at_least(self, num_workers=1, cpus_per_worker=1, max_failures=0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrackParams:
    """Where MLflow records the run. Never part of the digest."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "super-resolution"

    def problems(self) -> Problems:
        """Every value out of range: none."""
        return iter(())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MatrixParams:
    """The models and degradations over which dvc.yaml's stages are multiplied. Never part of the digest."""

    models: tuple[str, ...] = ("edsr",)
    degradations: tuple[str, ...] = ("bicubic",)

    def problems(self) -> Problems:
        """Every value out of range: none."""
        return iter(())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """All of params.yaml."""

    seed: int = 1
    data: DataParams = dataclasses.field(default_factory=DataParams)
    model: ModelParams = dataclasses.field(default_factory=ModelParams)
    train: TrainParams = dataclasses.field(default_factory=TrainParams)
    evaluate: EvaluateParams = dataclasses.field(default_factory=EvaluateParams)
    launch: LaunchParams = dataclasses.field(default_factory=LaunchParams)
    track: TrackParams = dataclasses.field(default_factory=TrackParams)
    matrix: MatrixParams = dataclasses.field(default_factory=MatrixParams)

    def problems(self) -> Problems:
        """Every value out of range."""
        if not 0 <= self.seed < 2**63:
            yield "seed", f"is {self.seed}, expected 0 or more and below 2^63"

    def digest(self) -> str:
        """The sha256 in hex of `digested`."""
        return digest_of(self.digested())

    def digested(self) -> dict[str, Any]:
        """What determines the weights, apart from the data's bytes."""
        values = to_dict(self)
        return {
            "seed": values["seed"],
            "model": values["model"],
            "train": {key: value for key, value in values["train"].items() if key not in _NOT_DIGESTED},
            "data": {key: values["data"][key] for key in ("scale", "degradation", "crop")},
        }

    @property
    def task(self) -> str:
        """What is being trained, in one word: `edsr-x4-bicubic`."""
        return f"{self.model.name}-x{self.data.scale}-{self.data.degradation}"


# how often we look, and how long we wait, does not change the weights
_NOT_DIGESTED = {"log_every", "checkpoint_every", "keep_checkpoints", "collective_timeout_s"}


def to_dict(value: Any) -> dict[str, Any]:
    """A dataclass of this module as plain dicts, lists and scalars, as it would stand in params.yaml."""
    plain = dataclasses.asdict(value)
    return {key: _plain(item) for key, item in plain.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def load(path: Path | str, overrides: Sequence[str] = ()) -> Params:
    """The parameters in the YAML file at `path`, with `overrides` like `train.steps=100` applied.

    Raises:
        ConfigError: the file cannot be read, or lists every key that is unknown or has a wrong value.
    """
    try:
        tree = _read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file like params.yaml") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that is none
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds no keys, expected sections like data:, model: and train:")
    for override in overrides:
        _apply(tree, override)
    return from_dict(tree, where=str(path))


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key stands once: PyYAML would take the last and forget the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value}: stands twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _UniqueKeys)  # a SafeLoader


def from_dict(tree: Mapping[str, Any], *, where: str = "params") -> Params:
    """`tree` as typed parameters; `where` is named in the error."""
    problems: list[str] = []
    params = _build(Params, tree, "", problems)
    if problems:
        raise ConfigError(f"{where}: {len(problems)} wrong:{listed(problems)}")
    assert isinstance(params, Params)
    return params


def _apply(tree: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"--set {override}: expected key=value, such as train.steps=100")
    *sections, last = names = dotted.strip().split(".")
    for section in sections:
        below = tree.setdefault(section, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override}: {section} is a value and holds no keys")
        tree = below
    try:
        tree[last] = _read_yaml(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from None
    if isinstance(tree[last], str) and not _takes_text(names):
        # a shell user's 1e-4 has no file in which the dot could be forgotten by the next reader
        with_number = _number(tree[last])
        tree[last] = tree[last] if with_number is None else with_number


def _takes_text(names: Sequence[str]) -> bool:
    """Whether the key at this path holds text, so that `1e3` may be the name of a folder."""
    kind: Any = Params
    for name in names:
        kind = typing.get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
    return kind in (str, str | None)


def _number(text: str) -> float | None:
    """The finite number that `text` spells, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _build(kind: type, tree: Any, prefix: str, problems: list[str]) -> Any:
    """A `kind` from `tree`; what is wrong goes to `problems` under its dotted key."""
    if not isinstance(tree, Mapping):
        problems.append(f"{prefix.rstrip('.')}: is {tree!r}, expected keys below it")
        return None
    hints = typing.get_type_hints(kind)
    values, wrong = {}, set()
    for key, item in tree.items():
        before = len(problems)
        if key not in hints:
            problems.append(f"{prefix}{key}: no such key{_nearest(str(key), hints)}")
        elif dataclasses.is_dataclass(hints[key]):
            values[key] = _build(typing.cast(type, hints[key]), item, f"{prefix}{key}.", problems)
        else:
            values[key] = _check(hints[key], item, f"{prefix}{key}", problems)
        if len(problems) > before:
            wrong.add(key)
    # what is right is checked for its range beside what is wrong, in whose place the default stands
    built = kind(**{key: value for key, value in values.items() if key not in wrong})
    if hasattr(built, "problems"):
        given = [(key, text) for key, text in built.problems() if key in tree and key not in wrong]
        problems.extend(f"{prefix}{key}: {text}" for key, text in (given if wrong else built.problems()))
    return built


def _nearest(key: str, names: Mapping[str, Any]) -> str:
    elsewhere = [dotted for dotted in _dotted_keys(Params) if dotted.endswith(f".{key}")]
    near = elsewhere or difflib.get_close_matches(key, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(names)}"


def _dotted_keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key of params.yaml, such as train.steps."""
    for key, hint in typing.get_type_hints(kind).items():
        yield prefix + key
        if dataclasses.is_dataclass(hint):
            yield from _dotted_keys(hint, f"{prefix}{key}.")


def _check(hint: Any, value: Any, key: str, problems: list[str]) -> Any:
    """`value` as `hint`'s type, or a line in `problems`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        if value is None and type(None) in arguments:
            return None
        return _check(next(kind for kind in arguments if kind is not type(None)), value, key, problems)
    if origin is Literal:
        if value not in arguments:
            problems.append(f"{key}: is {value!r}, expected {' or '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _check_tuple(arguments, value, key, problems)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = Mapping if origin is not None else hint
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        problems.append(f"{key}: is {value!r}, expected {_kind_name(hint)}{_hint_for_text(hint, value)}")
    return value


def _check_tuple(arguments: tuple[Any, ...], value: Any, key: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f"{key}: is {value!r}, expected a list")
        return ()
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        problems.append(f"{key}: has {len(value)} items, expected {len(arguments)}")
        return ()
    return tuple(_check(arguments[0], item, f"{key}[{i}]", problems) for i, item in enumerate(value))


def _kind_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, "keys below it")


def _hint_for_text(hint: Any, value: Any) -> str:
    number = _number(value) if isinstance(value, str) and hint in {int, float} else None
    if number is None or (hint is int and not number.is_integer()):
        return ""
    exact = repr(number).replace("e", ".0e") if "." not in repr(number) else repr(number)
    return f": YAML reads {value} as text; write {exact if hint is float else int(number)}"


def _at_least(section: Any, **least: int) -> Problems:
    for name, bound in least.items():
        if getattr(section, name) < bound:
            yield name, f"is {getattr(section, name)}, expected {bound} or more"
