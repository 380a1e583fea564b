"""What is compared on: folders of test images and validation images, each with every degradation that was asked for."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence

from sr_core.data import index
from sr_core.data.patches import open_dataset
from sr_core.data.sources import dataset_name
from sr_core.errors import SrError
from sr_core.evaluate.benchmark import EvalImages
from sr_core.evaluate.folder import BICUBIC, open_sets
from sr_core.evaluate.metrics import PROTOCOLS, Protocol
from sr_core.evaluate.testsets import TestSet, known
from sr_core.params import Params
from sr_core.progress import QUIET, Progress


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Test images with one degradation, and by which protocol they are measured."""

    test_set: str
    degradation: str
    lr_source: str  # in words: `files`, `made here: unknown, seed 0`
    protocol: Protocol
    images: EvalImages

    @property
    def name(self) -> str:
        """As in the names of files: `Set5-x4-bicubic`."""
        test_set = re.sub(r"[^A-Za-z0-9._-]+", "-", self.test_set).strip("-.") or "images"
        return f"{test_set}-x{self.images.scale}-{self.degradation}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """All images to compare on; a line about each that cannot be used, and about each that is left out."""

    sets: tuple[Images, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Test images as a user names them."""

    folders: tuple[str, ...]  # as `evaluate --images` takes them
    scale: int
    degradations: tuple[str, ...]
    optional: Collection[str] = ()  # those of them that a folder may lack, or that cannot be made for it
    validation: bool = False  # the data set's validation images as well, from their shards
    protocol: str | None = None  # None: the usual one of each test set


def gathered(wanted: Wanted, params: Params, *, progress: Progress = QUIET) -> Gathered:
    """Opens what is wanted, validation images first."""
    found: list[Images] = []
    problems: list[str] = []
    remarks: list[str] = []
    for degradation in wanted.degradations if wanted.validation else ():
        try:
            found.append(_of_validation(degradation, wanted, params, progress))
        except SrError as error:
            problems.append(str(error))
    for folder in wanted.folders:
        for degradation in wanted.degradations:
            try:
                found.append(_of_folder(folder, degradation, wanted, params))
            except SrError as error:
                left_out = degradation in wanted.optional and _opens(folder, wanted, params)
                (remarks if left_out else problems).append(str(error))
    problems += _several(found)
    if not found and not problems:
        problems.append("there are no test images; add --images FOLDER")
    return Gathered(sets=tuple(found), problems=tuple(dict.fromkeys(problems)), remarks=tuple(remarks))


def _several(found: Sequence[Images]) -> Iterator[str]:
    names = [each.name for each in found]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"{name}: is the name of several test sets; give their folders names of their own"


def _of_folder(folder: str, degradation: str, wanted: Wanted, params: Params) -> Images:
    images = _opened(folder, degradation, wanted, params)
    return Images(
        test_set=images.name,
        degradation=degradation,
        lr_source=images.lr_source,
        protocol=images.protocol,
        images=images,
    )


def _opened(folder: str, degradation: str, wanted: Wanted, params: Params) -> TestSet:
    (images,) = open_sets([folder], wanted.scale, params, protocol=wanted.protocol, degradations=[degradation])
    return images


def _opens(folder: str, wanted: Wanted, params: Params) -> bool:
    """Whether there are images in `folder` at all."""
    try:
        _opened(folder, BICUBIC, wanted, params)
    except SrError:
        return False
    return True


def _of_validation(degradation: str, wanted: Wanted, params: Params, progress: Progress) -> Images:
    data = dataclasses.replace(params.data, scale=wanted.scale, degradation=degradation)
    images = open_dataset(data, verify=False).valid
    folders = index.shard_directories(data).items()
    valid = {folder: index.load_index(folder) for part, folder in folders if part.startswith("valid/")}
    index.verify(valid, progress=progress)
    name = f"{dataset_name(data)} validation"
    return Images(
        test_set=known(name, images.keys) if data.source == "div2k" else name,
        degradation=degradation,
        lr_source="shards",
        protocol=PROTOCOLS[wanted.protocol or params.evaluate.protocol],
        images=images,
    )
