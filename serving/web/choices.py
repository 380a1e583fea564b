"""What may be chosen on the page: models by name and version, and sample photographs. Nothing here needs torch."""

import dataclasses
import importlib.util
import json
from pathlib import Path

from sr_core.data.images import read_rgb, write_png
from sr_core.data.resize import bicubic_down
from sr_core.data.sample import SAMPLE
from sr_core.errors import ConfigError, SrError, listed
from sr_core.params import SCALES

ORIGINAL = "-sample-original.png"  # how the name of a sample's original ends
INTERPOLATION = ("bicubic", "lanczos", "bilinear", "nearest")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One model that can be opened."""

    label: str  # champion (version 3), trained here, x4
    model: str  # for serving.models.open_any
    scale: int | None = None  # where it is known before the model is opened


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A model's name with its versions, of which the first is proposed."""

    name: str
    versions: tuple[Version, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A photograph to try the page with."""

    name: str
    path: Path


def local_models(root: Path) -> tuple[Named, ...]:
    """The models that training published below `root`/models, and interpolation."""
    found = [_local(card) for card in sorted((root / "models").glob("*/card.json"))]
    return (*(named for named in found if named), *map(_interpolated, INTERPOLATION))


def _local(card: Path) -> Named | None:
    """None where the card cannot be read; opening it by the command says why."""
    try:
        values = json.loads(card.read_text(encoding="utf-8"))
        scale = int(values["scale"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    directory = card.parent
    return Named(name=directory.name, versions=(Version(label="trained here", model=str(directory), scale=scale),))


def _interpolated(name: str) -> Named:
    order = sorted(SCALES, key=lambda scale: scale != 4)  # x4 is proposed
    return Named(name=name, versions=tuple(Version(label=f"x{scale}", model=name, scale=scale) for scale in order))


def find(models: tuple[Named, ...], name: str | None, label: str | None) -> Version:
    """The version that was chosen.

    Raises:
        ConfigError: there is none such; it lists those there are.
    """
    named = next((one for one in models if one.name == name), None)
    if named is None:
        raise ConfigError(f"there is no model {name!r}, expected one of:{listed([one.name for one in models])}")
    for version in named.versions:
        if version.label == label or (label is None and version is named.versions[0]):
            return version
    there = [version.label for version in named.versions]
    raise ConfigError(f"{name} has no version {label!r}, expected one of:{listed(there)}")


def samples(root: Path) -> tuple[Sample, ...]:
    """Photographs of `root`/raw/sample, or those inside installed wheels, or none; nothing is fetched."""
    raw = sorted((root / "raw" / "sample").glob("DIV2K_*_HR/*.png"))
    if raw:
        return tuple(Sample(name=path.stem, path=path) for path in raw)
    installed = {photo.key: _installed(photo.package, photo.path) for photo in SAMPLE}
    return tuple(Sample(name=name, path=path) for name, path in installed.items() if path)


def _installed(package: str, path: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    found = Path(places[0]) / path if places else None
    return found if found and found.is_file() else None


def reduce_sample(sample: Sample, scale: int, folder: Path) -> tuple[Path, Path]:
    """The sample made smaller by `scale` as training does it (MATLAB's bicubic), and its original, as PNG in `folder`.

    Raises:
        SrError: it cannot be read or written.
    """
    image = read_rgb(sample.path)
    height, width = (side - side % scale for side in image.shape[:2])
    original, small = folder / f"{sample.name}{ORIGINAL}", folder / f"{sample.name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_png(original, image[:height, :width])
        write_png(small, bicubic_down(image[:height, :width], scale))
    except OSError as error:
        raise SrError(f"{folder}: cannot be written ({error.strerror}); see that the disk has room") from None
    return small, original
