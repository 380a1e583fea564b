"""Batches of crops out of memory-mapped shards, and whole validation images.

B batch, S scale, h w crop in LR pixels. Pixels stay uint8 until they are on the device; symmetries and floats
are made there. Crops are copied once, row by row, out of the mapped file into a tensor that is (B, h, w, 3) in
memory: seen as (B, 3, h, w) it is channels_last already.
"""

import dataclasses
import itertools
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_core.data import index as indexes
from sr_core.data.degrade import recipe_digest
from sr_core.data.index import HR, ShardIndex
from sr_core.data.mixed import member_weights, mixed_index
from sr_core.data.order import draw, draw_members
from sr_core.errors import ShardError
from sr_core.files import digest_of
from sr_core.params import SHIFTED, DataParams
from sr_core.progress import QUIET, Progress

_THEIRS = "data.variants, data.degradation_seed, data.align, data.mixed and the ranges"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Crops as stored, uint8 and channels_last, and the symmetry (0 to 7) that each is to be given."""

    lr: Tensor  # (B, 3, h, w)
    hr: Tensor  # (B, 3, S*h, S*w)
    symmetry: Tensor  # (B,) uint8: bit 0 flip x, bit 1 flip y, bit 2 then transpose

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`; from pinned memory the copy goes on in the background."""
        lr, hr, symmetry = (each.to(device, non_blocking=True) for each in (self.lr, self.hr, self.symmetry))
        return Batch(lr=lr, hr=hr, symmetry=symmetry)


def augment(batch: Batch) -> tuple[Tensor, Tensor]:
    """LR and HR with their symmetries, as float32 0..255, channels_last; waits for no device."""
    turn = _turned_one_by_one if batch.symmetry.device.type == "cpu" else _turned_at_once
    return turn(batch.lr, batch.symmetry), turn(batch.hr, batch.symmetry)


def _turned_at_once(crops: Tensor, symmetry: Tensor) -> Tensor:
    """Three passes over the batch, without the host's knowing the symmetries."""
    flip_x, flip_y, transpose = ((symmetry & bit).bool().view(-1, 1, 1, 1) for bit in (1, 2, 4))
    crops = torch.where(flip_x, crops.flip(3), crops)
    crops = torch.where(flip_y, crops.flip(2), crops)
    crops = torch.where(transpose, crops.transpose(2, 3), crops)
    return crops.to(torch.float32, memory_format=torch.channels_last)


def _turned_one_by_one(crops: Tensor, symmetry: Tensor) -> Tensor:
    """One pass, as views: on a CPU ten times faster than copying both branches of every choice."""
    out = torch.empty_like(crops, dtype=torch.float32, memory_format=torch.channels_last)
    for i, bits in enumerate(symmetry.tolist()):
        crop = crops[i].flip([axis for bit, axis in ((1, 2), (2, 1)) if bits & bit])
        out[i] = crop.transpose(1, 2) if bits & 4 else crop
    return out


class PatchSet:
    """The training patches, mapped into memory: HR, and LR of one or more members, drawn for each sample."""

    def __init__(self, hr: Path, lr: Mapping[Path, float], index: ShardIndex) -> None:
        """`lr`: how often each member is drawn, by its folder; `index` is that of `hr`."""
        self.scale, self.crop, self.patch = index.scale, index.crop, index.patch
        names = sorted(index.files)
        self._hr, *members = ([_mapped(folder / name) for name in names] for folder in (hr, *lr))
        self._lr = [shard for member in members for shard in member]  # member after member
        self._weights = tuple(lr.values())
        self._starts = np.cumsum([0, *map(len, self._hr)])
        self._pin = torch.cuda.is_available()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def batch(self, seed: int, step: int, batch: int, share: range, augment: bool, *, crop: int | None = None) -> Batch:
        """The samples `share` of the global batch of `batch` samples that `step` has.

        Crops have `crop` LR pixels a side, at most and by default those for which the patches were cut. Smaller ones
        come from all positions of a patch; the patches overlap, so where two do, a position is drawn more often.
        """
        side = crop or self.crop
        assert side <= self.crop, "Params holds train.crop to data.crop"
        positions = self.patch // self.scale - side + 1
        drawn = draw(seed=seed, step=step, batch=batch, num_patches=len(self), positions=positions, augment=augment)
        mine = slice(share.start, share.stop)
        patch, top, left = drawn.patch[mine], drawn.top[mine], drawn.left[mine]
        shard = np.searchsorted(self._starts, patch, side="right") - 1
        place = patch - self._starts[shard]
        lr, hr = self._empty(len(share), side), self._empty(len(share), side * self.scale)
        _copy(self._hr, hr.numpy(), shard, place, top * self.scale, left * self.scale)
        if len(self._weights) > 1:
            member = draw_members(seed=seed, step=step, batch=batch, weights=self._weights)[mine]
            shard = shard + member * len(self._hr)
        _copy(self._lr, lr.numpy(), shard, place, top, left)
        symmetry = torch.from_numpy(drawn.symmetry[mine].astype(np.uint8))
        return Batch(lr=lr.permute(0, 3, 1, 2), hr=hr.permute(0, 3, 1, 2), symmetry=symmetry)

    def _empty(self, count: int, side: int) -> Tensor:
        return torch.empty((count, side, side, 3), dtype=torch.uint8, pin_memory=self._pin)


def _mapped(path: Path) -> NDArray[np.uint8]:
    # a plain array: slicing np.memmap objects costs more than copying the crop
    return np.asarray(np.load(path, mmap_mode="r"))


def _copy(
    shards: Sequence[NDArray[np.uint8]],
    out: NDArray[np.uint8],
    shard: NDArray[np.int64],
    place: NDArray[np.int64],
    top: NDArray[np.int64],
    left: NDArray[np.int64],
) -> None:
    side = out.shape[1]
    for i, (s, k, y, x) in enumerate(zip(shard.tolist(), place.tolist(), top.tolist(), left.tolist(), strict=True)):
        out[i] = shards[s][k, y : y + side, x : x + side]


class ImageSet:
    """The validation images, whole; HR is cropped to a multiple of the scale."""

    def __init__(self, hr: Path, lr: Sequence[Path], index: ShardIndex, digest: str) -> None:
        """`lr`: the folder of each image's LR; `index` is that of `hr`, `digest` changes when a pixel does."""
        self.scale, self.keys, self.digest = index.scale, index.keys, digest
        self._hr, self._lr = hr, lr

    def __len__(self) -> int:
        return len(self.keys)

    def lr(self, i: int) -> NDArray[np.uint8]:
        """LR image `i` as (h, w, 3)."""
        return _load(self._lr[i] / f"{self.keys[i]}.npy")

    def hr(self, i: int) -> NDArray[np.uint8]:
        """HR image `i` as (S*h, S*w, 3)."""
        return _load(self._hr / f"{self.keys[i]}.npy")


def _load(path: Path) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = np.load(path)
    return image


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What a run trains and is validated on; `digest` is the data version."""

    train: PatchSet
    valid: ImageSet
    digest: str


def open_dataset(params: DataParams, *, verify: bool, progress: Progress = QUIET) -> Dataset:
    """The shards for `params`; `verify` reads every byte of them once.

    Raises:
        ShardError: shards are absent, damaged, or were built for other parameters.
    """
    folders, found = fitting(params, indexes.load_index)
    if verify:
        indexes.verify({folder: found[name] for name, folder in folders.items()}, progress=progress)
    train, valid = found[f"train/{HR}"], found[f"valid/{HR}"]
    weights = {folders[f"train/{member}"]: weight for member, weight in member_weights(params, found).items()}
    drawn = found[f"valid/{params.degradation}"]
    lr = [folders[f"valid/{drawn.tracks.get(key, params.degradation)}"] for key in valid.keys]
    return Dataset(
        train=PatchSet(folders[f"train/{HR}"], weights, train),
        valid=ImageSet(folders[f"valid/{HR}"], lr, valid, digest_of([valid.digest, drawn.digest])),
        digest=indexes.version_of(found).digest,
    )


def fitting(params: DataParams, load: indexes.Load) -> tuple[dict[str, Path], dict[str, ShardIndex]]:
    """The folders of the shards for `params` and their indexes as `load` reads them, both by name.

    Raises:
        ShardError: indexes are absent, damaged, or of other parameters.
    """
    folders = indexes.shard_directories(params, load)
    found = {name: load(folder) for name, folder in folders.items()}
    _check_fit(params, folders, found)
    return folders, found


def _check_fit(params: DataParams, folders: Mapping[str, Path], found: Mapping[str, ShardIndex]) -> None:
    for name, index in found.items():
        if index.kind == "patches" and index.crop != params.crop:
            raise ShardError(
                f"{folders[name]}: was built for data.crop {index.crop}, but data.crop is {params.crop}; "
                "run `python -m sr_core shard`"
            )
        if index.hr_digest != found[f"{index.split}/{HR}"].hr_digest:
            raise ShardError(
                f"{folders[name]}: does not belong to the HR shards beside it; run `python -m sr_core shard`"
            )
        if not _is_of(params, index, found):
            raise ShardError(
                f"{folders[name]}: was built for other parameters of its degradation ({_THEIRS}) than these; "
                "run `python -m sr_core shard`"
            )


def _is_of(params: DataParams, index: ShardIndex, found: Mapping[str, ShardIndex]) -> bool:
    """Whether the parameters of its degradation made `index` what it is."""
    if index.kind == "mixed":
        return index == mixed_index(params, index.split, found)
    if not index.recipe and index.track not in SHIFTED:
        return True  # the data set's own files, or made without any parameter
    made_here = index.track not in SHIFTED and index.split == "train"
    return index.recipe == recipe_digest(params, index.track) and (not made_here or index.variants == params.variants)


def batches(
    patches: PatchSet,
    *,
    seed: int,
    start: int,
    stop: int,
    batch: int,
    share: range,
    augment: bool,
    crop: int | None = None,
    threads: int = 1,
) -> Generator[Batch, None, None]:
    """The batches of steps `start` to `stop` - 1 as `patches.batch` makes them, in order.

    `threads` make the next ones meanwhile, one each and one to spare; with 0 a batch is made when it is asked for.
    What goes wrong in a thread is raised here, at its step. Closing the iterator ends the threads.
    """

    def made(step: int) -> Batch:
        return patches.batch(seed, step, batch, share, augment, crop=crop)

    if not threads:
        yield from map(made, range(start, stop))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    steps = iter(range(start, stop))
    ahead = deque(pool.submit(made, step) for step in itertools.islice(steps, threads + 1))
    try:
        while ahead:
            ready = ahead.popleft().result()
            ahead.extend(pool.submit(made, step) for step in itertools.islice(steps, 1))
            yield ready
    finally:
        pool.shutdown(cancel_futures=True)
