"""Every parameter of a run as typed, frozen values: what can stand in params.yaml, its defaults and its bounds.

`sr_core.config` reads them; their names there are the fields' names here. `Params.digest` covers what determines the
trained weights apart from the data's bytes (those have digests of their own), so that changing where or how
widely a job runs never makes it another run.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sr_core.degradation_params import SecondOrderParams, UnknownParams
from sr_core.files import digest_of
from sr_core.sections import Problems, at_least

ProtocolName = Literal["benchmark-y", "div2k-rgb", "whole-rgb"]
SCALES = (2, 3, 4, 8)
TRACKS = ("bicubic", "unknown", "mild", "difficult", "wild", "second_order")
DEGRADATIONS = (*TRACKS, "mixed")
SHIFTED = {"mild", "difficult", "wild"}  # DIV2K's, x4 only, whose LR images are shifted against HR
MOST_THREADS = 1024  # far more than cores crash the process


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataParams:
    """Which photographs, how they are degraded, and how they lie in the shards."""

    source: Literal["sample", "folder", "div2k"] = "sample"
    root: str = "data"  # holds raw/, shards/, runs/, models/ and reports/
    folder: str | None = None  # source: folder only; your photographs
    lr_folder: str | None = None  # source: folder only; their LR images, of the same names
    valid_every: int = 10  # of a plain folder, every so many-th image by name is for validation
    valid_list: str | None = None  # source: folder only; a file that names the validation images, one a line
    mirror: str | None = None  # source: div2k only; a base URL to fetch the archives from instead
    archives: str | None = None  # source: div2k only; a folder that holds archives already
    downloads: int = 3  # archives that are fetched at once
    keep_archives: bool = False  # false: a fetched archive is removed once it is unpacked
    max_pixels: int = 100_000_000  # of an image; checked before it is decoded
    scale: int = 4
    degradation: str = "bicubic"
    mixed: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"bicubic": 1.0, "unknown": 1.0})
    variants: int = 1  # versions of each image, of a degradation that is drawn here
    degradation_seed: int = 0  # of what is drawn
    align: bool = False  # mild, difficult and wild: undo the whole-pixel shift against HR
    unknown: UnknownParams = dataclasses.field(default_factory=UnknownParams)
    second_order: SecondOrderParams = dataclasses.field(default_factory=SecondOrderParams)
    crop: int = 48  # side of a training crop in LR pixels
    patch: int | None = None  # side of a stored patch in HR pixels; null: the smallest with stored/raw <= 3
    shard_bytes: int = 64 * 2**20  # a shard of HR patches is closed at about this size
    num_writers: int = 2  # processes that build shards

    def problems(self) -> Problems:
        """Every value out of range."""
        if self.scale not in SCALES:
            yield "scale", f"is {self.scale}, expected 2, 3, 4 or 8"
        if self.degradation not in DEGRADATIONS:
            yield "degradation", f"is {self.degradation!r}, expected {_either(DEGRADATIONS)}"
        yield from self._problems_of_source()
        yield from self._problems_of_tracks()
        yield from at_least(
            self, valid_every=2, downloads=1, max_pixels=1, variants=1, crop=8, shard_bytes=1, num_writers=1
        )
        if not 0 <= self.degradation_seed < 2**63:
            yield "degradation_seed", f"is {self.degradation_seed}, expected 0 or more and below 2^63"
        if self.patch is not None and self.patch % self.scale:
            yield "patch", f"is {self.patch}, expected a multiple of data.scale {self.scale}"
        if self.patch is not None and self.patch < self.crop * self.scale:
            yield (
                "patch",
                f"is {self.patch} HR pixels, but a crop is {self.crop} x {self.scale} = {self.crop * self.scale}: "
                "expected a patch at least as large as the crop; raise data.patch or lower data.crop",
            )

    def _problems_of_source(self) -> Problems:
        if (self.source == "folder") != (self.folder is not None):
            yield "folder", f"is {self.folder!r}, expected a path when data.source is folder, and null otherwise"
        for name, source in (
            ("lr_folder", "folder"),
            ("valid_list", "folder"),
            ("mirror", "div2k"),
            ("archives", "div2k"),
        ):
            if getattr(self, name) is not None and self.source != source:
                yield name, f"is {getattr(self, name)!r}, expected null unless data.source is {source}"
        if self.mirror is not None and not self.mirror.startswith(("http://", "https://")):
            yield "mirror", f"is {self.mirror!r}, expected a URL that starts with http:// or https://"

    def _problems_of_tracks(self) -> Problems:
        for name, weight in self.mixed.items():
            if name not in TRACKS:
                yield "mixed", f"has the key {name!r}, expected {_either(TRACKS)}"
            elif isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                yield "mixed", f"gives {name} the weight {weight!r}, expected a number above 0"
        if not self.mixed:
            yield "mixed", "is empty, expected tracks and their weights, such as {bicubic: 1, unknown: 1}"
        x4_only = sorted(SHIFTED & set(self.tracks))
        if x4_only and self.scale != 4:
            yield (
                "degradation",
                f"takes {', '.join(x4_only)}, which exist for scale 4 only, but data.scale is {self.scale}",
            )

    def with_absolute_paths(self) -> "DataParams":
        """The same for workers, which may have another working directory."""
        paths = {name: getattr(self, name) for name in ("root", "folder", "lr_folder", "valid_list", "archives")}
        absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in paths.items() if path is not None}
        return dataclasses.replace(self, **absolute)

    @property
    def tracks(self) -> tuple[str, ...]:
        """The degradations of which LR images are needed."""
        return tuple(self.mixed) if self.degradation == "mixed" else (self.degradation,)


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
        yield from at_least(
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
        yield from at_least(self, num_workers=1, cpus_per_worker=1, max_failures=0)


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
        """Every value out of range (the table of networks checks its own names)."""
        for name in self.degradations:
            if name not in DEGRADATIONS:
                yield "degradations", f"has {name!r}, expected {_either(DEGRADATIONS)}"


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


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
