"""Every parameter of a run as typed, frozen values: what can stand in params.yaml, its defaults and its bounds.

`sr_core.config` reads them; their names there are the fields' names here. `Params.digest` covers what determines the
trained weights apart from the data's bytes (those have digests of their own), so that changing where or how
widely a job runs never makes it another run.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sr_core.degradation_params import SecondOrderParams, UnknownParams
from sr_core.files import digest_of
from sr_core.launch_params import LaunchParams, StorageParams, TrackParams
from sr_core.sections import Problems, at_least
from sr_core.train_params import SMALLEST_CROP, AdversarialParams, ProtocolName, TrainParams

SCALES = (2, 3, 4, 8)
TRACKS = ("bicubic", "unknown", "mild", "difficult", "wild", "second_order")
DEGRADATIONS = (*TRACKS, "mixed")
NETWORKS = ("srcnn", "edsr", "wdsr_a", "wdsr_b", "srresnet", "srgan", "rrdb", "esrgan")  # those that are trained
GANS = {"srgan", "esrgan"}  # generators that are named for being trained against a discriminator
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
SHIFTED = {"mild", "difficult", "wild"}  # DIV2K's, x4 only, whose LR images are shifted against HR


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
            self, valid_every=2, downloads=1, max_pixels=1, variants=1, crop=SMALLEST_CROP, shard_bytes=1, num_writers=1
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
class EvaluateParams:
    """By which protocol a finished model is measured."""

    protocol: ProtocolName = "benchmark-y"
    niqe_model: str | None = None  # NIQE's pristine model, .json or .npz; null: fitted on the training photographs
    lpips_weights: tuple[str, ...] = ()  # LPIPS's files: a backbone of torchvision's and the authors' linear layers

    def problems(self) -> Problems:
        """Every value out of range."""
        if self.niqe_model is not None and not self.niqe_model.endswith((".json", ".npz")):
            yield "niqe_model", f"is {self.niqe_model!r}, expected null, or a .json of `fit-niqe`, or an .npz"
        if len(self.lpips_weights) > 2:
            yield "lpips_weights", f"names {len(self.lpips_weights)} files, expected a backbone and its linear layers"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CompareParams:
    """On which images models are compared, and how. Never part of the digest."""

    name: str = "models"  # of the folder below <data.root>/compare
    images: tuple[str, ...] = ()  # folders of test images, as `evaluate --images` takes them
    validation: bool = True  # the data set's validation images, too
    degradations: tuple[str, ...] = ()  # empty: those of matrix
    rounds: int = 5  # in which times are taken, all models in turn; 0: none are
    pictures: int = 6  # images of a test set of which there are pictures

    def problems(self) -> Problems:
        """Every value out of range."""
        if not _FOLDER.fullmatch(self.name):
            yield "name", f"is {self.name!r}, expected letters, digits, '.', '_' and '-', such as models"
        for name in self.degradations:
            if name not in DEGRADATIONS:
                yield "degradations", f"has {name!r}, expected {_either(DEGRADATIONS)}"
        yield from at_least(self, rounds=0, pictures=0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MatrixParams:
    """The models and degradations over which dvc.yaml's stages are multiplied. Never part of the digest."""

    models: tuple[str, ...] = ("edsr",)
    degradations: tuple[str, ...] = ("bicubic",)
    adversarial: tuple[Mapping[str, str], ...] = ()  # fine-tunes: {model: srgan, start: srresnet}

    def problems(self) -> Problems:
        """Every value out of range (the table of networks checks its own names)."""
        for name in self.degradations:
            if name not in DEGRADATIONS:
                yield "degradations", f"has {name!r}, expected {_either(DEGRADATIONS)}"
        for entry in self.adversarial:
            if set(entry) != {"model", "start"} or str(entry["model"]) not in GANS:
                expected = f"{{model: {_either(sorted(GANS))}, start: the model it begins with}}"
                yield "adversarial", f"has {dict(entry)!r}, expected {expected}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """All of params.yaml."""

    seed: int = 1
    data: DataParams = dataclasses.field(default_factory=DataParams)
    model: ModelParams = dataclasses.field(default_factory=ModelParams)
    train: TrainParams = dataclasses.field(default_factory=TrainParams)
    adversarial: AdversarialParams = dataclasses.field(default_factory=AdversarialParams)
    evaluate: EvaluateParams = dataclasses.field(default_factory=EvaluateParams)
    compare: CompareParams = dataclasses.field(default_factory=CompareParams)
    launch: LaunchParams = dataclasses.field(default_factory=LaunchParams)
    storage: StorageParams = dataclasses.field(default_factory=StorageParams)
    track: TrackParams = dataclasses.field(default_factory=TrackParams)
    matrix: MatrixParams = dataclasses.field(default_factory=MatrixParams)

    def problems(self) -> Problems:
        """Every value out of range."""
        if not 0 <= self.seed < 2**63:
            yield "seed", f"is {self.seed}, expected 0 or more and below 2^63"
        if self.crop > self.data.crop:
            yield (
                "train.crop",
                f"is {self.crop}, expected {self.data.crop} (data.crop, which the shards are cut for) or less",
            )

    @property
    def crop(self) -> int:
        """The side of a training crop in LR pixels."""
        return self.train.crop or self.data.crop

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return self.adversarial.loss != "none"

    def digest(self) -> str:
        """The sha256 in hex of `digested`."""
        return digest_of(self.digested())

    def digested(self) -> dict[str, Any]:
        """What determines the weights, apart from the data's bytes."""
        values = to_dict(self)
        return {
            "seed": values["seed"],
            "model": values["model"],
            "train": _without(values["train"], *_NOT_DIGESTED),
            "data": {key: values["data"][key] for key in ("scale", "degradation", "crop")},
            **({"adversarial": _without(values["adversarial"], "vgg_weights")} if self.is_adversarial else {}),
        }

    @property
    def task(self) -> str:
        """What is being trained, in one word: `edsr-x4-bicubic`; `edsr-gan-x4-bicubic` against a discriminator."""
        gan = "-gan" if self.is_adversarial and self.model.name not in GANS else ""
        return f"{self.model.name}{gan}-x{self.data.scale}-{self.data.degradation}"


# how often we look, and how long we wait, does not change the weights; those that a run begins with have a digest
# may change from launch to launch of a run, as all of launch, storage and track
MAY_CHANGE = {
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "collective_timeout_s",
    "loader_threads",
    "max_skipped",  # until something is skipped it changes nothing
}
_NOT_DIGESTED = {*MAY_CHANGE, "start"}


def _without(section: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in keys}


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
