"""What is compared on: folders of test images and validation images, each with every degradation that was asked for.

A folder's own LR images are bicubic by its layout's name, and taken as they are. For another degradation LR is made
from HR as for the shards, by `data.unknown` or `data.second_order` and `data.degradation_seed`.

Shapes: H W LR size, S scale.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sr_core.data import index
from sr_core.data.degrade import lr_of, recipe_digest
from sr_core.data.pairs import ImagePair
from sr_core.data.patches import open_dataset
from sr_core.data.sources import dataset_name
from sr_core.errors import SrError
from sr_core.evaluate.benchmark import EvalImages
from sr_core.evaluate.testsets import TestSet, open_testset, scales_of
from sr_core.files import digest_of
from sr_core.params import DataParams
from sr_core.progress import QUIET, Progress

MADE_HERE = ("bicubic", "unknown", "second_order")  # degradations for which HR alone will do


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Test images with one degradation."""

    test_set: str
    degradation: str
    origin: Literal["files", "made"]  # of LR
    images: EvalImages

    @property
    def name(self) -> str:
        """As in the names of files: `Set5-x4-bicubic`."""
        test_set = re.sub(r"[^A-Za-z0-9._-]+", "-", self.test_set).strip("-.") or "images"
        return f"{test_set}-x{self.images.scale}-{self.degradation}"


class Degraded:
    """HR images of a test set, and LR made of them by a degradation; satisfies EvalImages."""

    def __init__(self, images: TestSet, params: DataParams) -> None:
        """`params`: their scale and degradation are those that are made."""
        self._images, self._params = images, params
        self.scale, self.keys = images.scale, images.keys

    @property
    def digest(self) -> str:
        """Of HR, and of all that decides the pixels of LR."""
        return digest_of([self._images.digest, recipe_digest(self._params, self._params.degradation)])

    def __len__(self) -> int:
        return len(self._images)

    def lr(self, i: int) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        hr = self.hr(i)
        pair = ImagePair(key=self.keys[i], hr=Path(self.keys[i]), height=hr.shape[0], width=hr.shape[1], lr={})
        return lr_of(pair, hr, self._params, self._params.degradation)

    def hr(self, i: int) -> NDArray[np.uint8]:
        """(S*H, S*W, 3)."""
        return self._images.hr(i)


def of_folder(folder: Path, scale: int, degradations: Sequence[str], params: DataParams) -> Iterator[Images]:
    """The images in `folder` with each of `degradations`, all of MADE_HERE.

    Raises:
        SourceError, ImageError: the folder has no images for `scale`, or some that do not fit.
    """
    images = open_testset(folder, scale, max_pixels=params.max_pixels)
    for name in degradations:
        if name == "bicubic":
            given = scale in scales_of(folder)
            origin: Literal["files", "made"] = "files" if given else "made"
            yield Images(test_set=images.name, degradation=name, origin=origin, images=images)
        else:
            made = Degraded(images, dataclasses.replace(params, scale=scale, degradation=name))
            yield Images(test_set=images.name, degradation=name, origin="made", images=made)


def of_validation(degradations: Sequence[str], params: DataParams, *, progress: Progress = QUIET) -> Iterator[Images]:
    """The validation images of the data set, with each of `degradations` as their shards have it.

    Raises:
        ShardError: shards are absent or damaged.
    """
    for name in degradations:
        own = dataclasses.replace(params, degradation=name)
        images = open_dataset(own, verify=False).valid
        folders = index.shard_directories(own).items()
        valid = {folder: index.load_index(folder) for part, folder in folders if part.startswith("valid/")}
        index.verify(valid, progress=progress)
        test_set = f"{dataset_name(own)} validation"
        yield Images(test_set=test_set, degradation=name, origin="files", images=images)


def gathered(
    folders: Sequence[Path],
    scale: int,
    degradations: Sequence[str],
    params: DataParams,
    *,
    validation: Sequence[str] = (),
    progress: Progress = QUIET,
) -> tuple[tuple[Images, ...], tuple[str, ...]]:
    """All images to compare on, and a line about each of those that cannot be used.

    `degradations` are for `folders`, `validation` are those for the data set's validation images.
    """
    found: list[Images] = []
    problems: list[str] = []
    for name in validation:
        try:
            found += of_validation([name], dataclasses.replace(params, scale=scale), progress=progress)
        except SrError as error:
            problems.append(str(error))
    wrong = [name for name in degradations if name not in MADE_HERE]
    if folders and wrong:
        problems.append(
            f"{', '.join(wrong)}: cannot be made here for folders of images, expected {', '.join(MADE_HERE)}"
        )
    for folder in folders:
        try:
            found += of_folder(folder, scale, [name for name in degradations if name in MADE_HERE], params)
        except SrError as error:
            problems.append(str(error))
    names = [each.name for each in found]
    problems += [
        f"{name}: is the name of several test sets; give their folders names of their own"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if not found and not problems:
        problems.append("there are no test images; add --images FOLDER")
    return tuple(found), tuple(problems)
