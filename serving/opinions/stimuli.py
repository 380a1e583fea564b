"""What is shown in a blind test: a comparison's pictures, cut and encoded so that nothing tells where they come from.

Every picture of an image is cut at the same place, the one where the models differ most (the gallery's rule), and is
sent as a PNG of the same size in pixels and in bytes, without compression, names or metadata. Candidates are the
models, and for scores also the original (`hr`) and the low resolution with its pixels repeated (`nearest`), as in the
SRGAN paper.
"""

import collections
import dataclasses
import io
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from sr_core import files
from sr_core.compare.report import COMPARISON, IMAGES, LR, read_comparison
from sr_core.data import images
from sr_core.errors import ImageError, SrError, listed
from sr_core.evaluate.gallery import choose_crop
from sr_core.evaluate.opinions import BICUBIC, HR, NEAREST
from sr_core.upscale import Box

SIDE = 288  # of a crop, HR pixels: two fit beside each other at twice their size on 1280 pixels, one on a telephone
MOST_KEPT = 16  # images whose crops stay in memory, a quarter of a megabyte for each candidate

Image = tuple[str, str]  # test set, name
Pixels = NDArray[np.uint8]


class Stimuli:
    """The pictures of one comparison, as they were when it was opened."""

    def __init__(self, directory: Path) -> None:
        """Looks at all files below images/ and remembers their digests.

        Raises:
            SrError: there is no comparison, or pictures are missing or of different sizes; all of them are named.
            ImageError: a file is no picture.
        """
        self.directory = directory
        self._records = _records(directory)
        self.digest = files.digest_of({name: record.sha256 for name, record in self._records.items()})
        self.images, self.models, self._has_hr = _inventory(directory, self._records)
        added = [HR] if self._has_hr else []
        self.candidates = (*self.models, *added, *({NEAREST} - set(self.models)))
        self._weights = _weights(directory)
        self._kept: collections.OrderedDict[tuple[Image, bool], dict[str, bytes]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def weights(self, model: str) -> str:
        """The sha256 of the model's weights as the comparison tells it; empty where there are none."""
        return self._weights.get(model, "")

    def shown(self, image: Image, candidate: str) -> bytes:
        """The crop of `image` by `candidate`, as a PNG file.

        Raises:
            SrError: the file has changed since, or cannot be decoded.
        """
        return self._crops(image, in_the_middle=False)[candidate]

    def example(self, image: Image, candidate: str) -> bytes:
        """The middle of `image` by `candidate`: for examples, which should not be what is judged afterwards."""
        return self._crops(image, in_the_middle=True)[candidate]

    def _crops(self, image: Image, *, in_the_middle: bool) -> Mapping[str, bytes]:
        key = (image, in_the_middle)
        with self._lock:  # decoding takes most of the time, and one at a time is what the memory allows
            if key not in self._kept:
                self._kept[key] = self._cut(image, in_the_middle)
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _cut(self, image: Image, in_the_middle: bool) -> dict[str, bytes]:
        results = {model: self._read(image, model) for model in self.models}
        if self._has_hr:
            results[HR] = self._read(image, HR)
        shape = next(iter(results.values())).shape
        if NEAREST not in results:
            results[NEAREST] = _repeated(self._read(image, LR), shape, where="/".join(image))
        if in_the_middle:
            box = _middle(*shape[:2])
        else:
            others = [results[model] for model in self.models if model != BICUBIC]
            box = choose_crop(results[BICUBIC], others or [results[self.candidates[-1]]], height=SIDE, width=SIDE)
        return {candidate: _encode(pixels[box.slices()]) for candidate, pixels in results.items()}

    def _read(self, image: Image, which: str) -> Pixels:
        name = "/".join((IMAGES, *image, f"{which}.png"))
        path = self.directory / name
        if problem := files.mismatch(path, self._records[name]):
            raise SrError(f"{problem}: the comparison has changed since")
        return images.read_rgb(path)


def _records(directory: Path) -> dict[str, files.FileRecord]:
    """The files below images/ by their names, with their digests."""
    found = sorted((directory / IMAGES).glob("*/*/*.png"))
    if not found:
        raise SrError(f"{directory / IMAGES}: has no pictures to judge, compare models first: sr compare")
    return {path.relative_to(directory).as_posix(): files.record_of(path) for path in found}


def _inventory(
    directory: Path, records: Mapping[str, files.FileRecord]
) -> tuple[tuple[Image, ...], tuple[str, ...], bool]:
    """Images, models (bicubic among them), and whether there are originals; every image has the same files."""
    by_image: dict[Image, dict[str, Path]] = {}
    for name in records:
        _, test_set, image, file = name.split("/")
        by_image.setdefault((test_set, image), {})[file.removesuffix(".png")] = directory / name
    wanted = {which for found in by_image.values() for which in found} | {LR, BICUBIC}
    missing = [
        f"{directory / IMAGES / '/'.join(image) / which}.png: missing"
        for image, found in by_image.items()
        for which in sorted(wanted - set(found))
    ]
    if missing:
        raise SrError(f"pictures to judge are missing; compare the models again:{listed(missing)}")
    odd = [line for image, found in by_image.items() for line in _other_sizes(image, found)]
    if odd:
        raise SrError(f"pictures of one image have different sizes; compare the models again:{listed(odd)}")
    return tuple(by_image), tuple(sorted(wanted - {LR, HR})), HR in wanted


def _other_sizes(image: Image, found: Mapping[str, Path]) -> list[str]:
    sizes = {which: images.read_size(path) for which, path in found.items()}
    expected = sizes[BICUBIC]
    lines = [
        f"{'/'.join(image)}: {which} is {width} x {height}, bicubic {expected[1]} x {expected[0]}"
        for which, (height, width) in sizes.items()
        if which != LR and (height, width) != expected
    ]
    height, width = sizes[LR]
    if (height * (expected[0] // height or 1), width * (expected[0] // height or 1)) != expected:
        lines.append(
            f"{'/'.join(image)}: lr is {width} x {height}, expected a whole part of {expected[1]} x {expected[0]}"
        )
    return lines


def _weights(directory: Path) -> dict[str, str]:
    """Models' weights by label; none where compare.json is missing, for pictures are all that a test needs."""
    if not (directory / COMPARISON).exists():
        return {}
    return {model.label: model.weights_sha256 for model in read_comparison(directory).models}


def _repeated(lr: Pixels, shape: tuple[int, ...], *, where: str) -> Pixels:
    """(H, W, 3) -> (S*H, S*W, 3), every pixel repeated."""
    scale = shape[0] // lr.shape[0]
    result = lr.repeat(scale, axis=0).repeat(scale, axis=1)
    if result.shape != shape:
        raise ImageError(f"{where}: its pictures have different sizes")
    return result


def _middle(height: int, width: int) -> Box:
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    return Box(top=top, left=left, bottom=min(height, top + SIDE), right=min(width, left + SIDE))


def _encode(pixels: Pixels) -> bytes:
    """A PNG without compression: however smooth the picture, the number of bytes is the same."""
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """Stimuli, and the state of their directory, by which it is known whether they are still those."""

    stimuli: Stimuli
    state: tuple[int, int]


class Comparisons:
    """Where comparisons lie, and the stimuli of the one that is voted on; opened when it is asked for."""

    def __init__(self, comparisons: Path, name: str | None = None) -> None:
        self._comparisons, self._name = comparisons, name
        self._opened: Opened | None = None
        self._lock = threading.Lock()

    def stimuli(self) -> Stimuli:
        """The named comparison's, or the newest one's: opened anew when its directory was replaced.

        Raises:
            SrError: there is none, or it cannot be voted on.
        """
        with self._lock:
            directory = self._directory()
            status = directory.stat()
            state = (status.st_ino, status.st_mtime_ns)
            if self._opened is None or (self._opened.stimuli.directory, self._opened.state) != (directory, state):
                self._opened = Opened(stimuli=Stimuli(directory), state=state)
            return self._opened.stimuli

    def _directory(self) -> Path:
        if self._name is not None:
            return comparison_directory(self._comparisons, self._name)
        found = [path.parent for path in self._comparisons.glob(f"[!.]*/{IMAGES}")]
        if not found:
            raise SrError(f"{self._comparisons}: has no comparison to vote on, make one first: sr compare")
        return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def comparison_directory(comparisons: Path, name: str) -> Path:
    """The directory of the comparison `name`.

    Raises:
        SrError: there is none.
    """
    directory = comparisons / name
    if Path(name).name != name or name in {"", ".."} or not directory.is_dir():
        known = sorted(path.parent.name for path in comparisons.glob(f"[!.]*/{IMAGES}"))
        raise SrError(f"{name}: is no comparison in {comparisons}, expected one of: {', '.join(known) or 'none there'}")
    return directory
