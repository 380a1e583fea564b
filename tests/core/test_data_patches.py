import dataclasses
import itertools
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import CROP, SCALE, params_for, write_folder

from sr_core.data import patches as patches_module
from sr_core.data.images import read_rgb
from sr_core.data.order import draw
from sr_core.data.patches import Batch, Dataset, PatchSet, augment, batches, open_dataset
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.data.sources import dataset_name
from sr_core.errors import ShardError
from sr_core.params import DataParams
from sr_core.progress import QUIET

SIZES = [(50, 61), (48, 70), (90, 55), (49, 49)]  # the first is held out


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> DataParams:
    root = tmp_path_factory.mktemp("data")
    made = params_for(root, write_folder(root / "photos", SIZES), shard_bytes=1)
    build(made, progress=QUIET)
    return made


@pytest.fixture(scope="module")
def dataset(params: DataParams) -> Dataset:
    return open_dataset(params, verify=True)


def batch_of(train: PatchSet, step: int = 0, *, batch: int = 8, share: range | None = None, **others: Any) -> Batch:
    arguments = {"seed": 1, "augment": True} | others
    return train.batch(step=step, batch=batch, share=range(batch) if share is None else share, **arguments)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("lr", "hr", "symmetry"))


def test_the_version_is_that_of_the_build(params: DataParams, dataset: Dataset) -> None:
    assert dataset.digest == build(params, progress=QUIET).digest


def test_a_batch_holds_the_crops_that_are_drawn(params: DataParams, dataset: Dataset) -> None:
    folder = Path(params.root) / "shards" / dataset_name(params) / f"x{SCALE}" / "train"
    hr, lr = (np.concatenate([np.load(file) for file in sorted((folder / t).glob("*.npy"))]) for t in ("hr", "bicubic"))
    positions = 24 - CROP + 1
    for step in range(4):
        drawn = draw(seed=1, step=step, batch=8, num_patches=len(hr), positions=positions, augment=True)
        found = batch_of(dataset.train, step)
        for i, (k, y, x) in enumerate(zip(drawn.patch, drawn.top, drawn.left, strict=True)):
            np.testing.assert_array_equal(found.lr[i].permute(1, 2, 0), lr[k, y : y + CROP, x : x + CROP])
            y, x, side = y * SCALE, x * SCALE, CROP * SCALE
            np.testing.assert_array_equal(found.hr[i].permute(1, 2, 0), hr[k, y : y + side, x : x + side])
        assert found.symmetry.tolist() == drawn.symmetry.tolist()


def test_a_batch_is_uint8_and_channels_last(dataset: Dataset) -> None:
    batch = batch_of(dataset.train)

    assert (batch.lr.shape, batch.hr.shape) == ((8, 3, CROP, CROP), (8, 3, CROP * SCALE, CROP * SCALE))
    assert {batch.lr.dtype, batch.hr.dtype, batch.symmetry.dtype} == {torch.uint8}
    for crops in (batch.lr, batch.hr, *augment(batch)):
        assert crops.is_contiguous(memory_format=torch.channels_last)
    assert same(batch.to(torch.device("cpu")), batch)


def test_every_crop_of_every_photograph_is_drawn(params: DataParams, dataset: Dataset) -> None:
    """Also those at the border and those across where patches meet."""
    seen: set[bytes] = set()
    for step in range(1000):
        seen.update(crop.numpy().tobytes() for crop in batch_of(dataset.train, step, batch=64, augment=False).lr)

    expected: set[bytes] = set()
    for number in range(1, 4):
        lr = bicubic_down(read_rgb(Path(str(params.folder)) / f"{number:02}.png"), SCALE)
        windows = np.lib.stride_tricks.sliding_window_view(lr, (CROP, CROP), axis=(0, 1))
        expected.update(window.tobytes() for window in windows.reshape(-1, 3, CROP, CROP))
    assert len(expected) == 17 * 28 + 38 * 20 + 17 * 17  # in noise all crops differ
    assert seen == expected


def test_a_smaller_crop_is_drawn_from_all_of_a_patch(params: DataParams, dataset: Dataset) -> None:
    folder = Path(params.root) / "shards" / dataset_name(params) / f"x{SCALE}" / "train"
    hr, lr = (np.concatenate([np.load(file) for file in sorted((folder / t).glob("*.npy"))]) for t in ("hr", "bicubic"))
    side, corners = CROP - 3, set()
    for step in range(60):
        drawn = draw(seed=1, step=step, batch=64, num_patches=len(hr), positions=24 - side + 1, augment=False)
        found = batch_of(dataset.train, step, batch=64, augment=False, crop=side)
        corners |= set(zip(drawn.top.tolist(), drawn.left.tolist(), strict=True))
        for i, (k, y, x) in enumerate(zip(drawn.patch[:8], drawn.top, drawn.left, strict=False)):
            np.testing.assert_array_equal(found.lr[i].permute(1, 2, 0), lr[k, y : y + side, x : x + side])
            y, x, large = y * SCALE, x * SCALE, side * SCALE
            np.testing.assert_array_equal(found.hr[i].permute(1, 2, 0), hr[k, y : y + large, x : x + large])
    assert corners == set(itertools.product(range(24 - side + 1), repeat=2))


def test_batches_have_the_crop_that_is_asked_for(dataset: Dataset) -> None:
    arguments = {"seed": 1, "start": 2, "stop": 4, "batch": 8, "share": range(8), "augment": True}
    found = list(batches(dataset.train, crop=CROP - 2, **arguments))

    assert [batch.lr.shape[2:] for batch in found] == [(CROP - 2, CROP - 2)] * 2
    assert same(found[1], batch_of(dataset.train, 3, crop=CROP - 2))
    assert same(batch_of(dataset.train, 3, crop=CROP), batch_of(dataset.train, 3))


@pytest.mark.parametrize("sizes", [(8,), (4, 4), (3, 3, 2), (1,) * 8])
def test_the_shares_of_all_ranks_are_the_global_batch(dataset: Dataset, sizes: tuple[int, ...]) -> None:
    whole = batch_of(dataset.train, step=5)
    ends = np.cumsum([0, *sizes])
    parts = [batch_of(dataset.train, step=5, share=range(a, b)) for a, b in itertools.pairwise(ends)]

    for name in ("lr", "hr", "symmetry"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_symmetries_turn_lr_and_hr_alike() -> None:
    lr = torch.arange(8 * 3 * 4 * 4, dtype=torch.int64).to(torch.uint8).view(8, 3, 4, 4)
    hr = lr.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    turned_lr, turned_hr = augment(Batch(lr=lr, hr=hr, symmetry=torch.arange(8, dtype=torch.uint8)))

    assert turned_lr.dtype == turned_hr.dtype == torch.float32
    assert torch.equal(turned_lr.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), turned_hr)
    for symmetry in range(8):
        expected = lr[symmetry]
        expected = expected.flip(2) if symmetry & 1 else expected
        expected = expected.flip(1) if symmetry & 2 else expected
        expected = expected.transpose(1, 2) if symmetry & 4 else expected
        assert torch.equal(turned_lr[symmetry], expected.float())
    distinct = augment(Batch(lr=lr[:1].expand(8, 3, 4, 4), hr=hr, symmetry=torch.arange(8, dtype=torch.uint8)))[0]
    assert len({crop.numpy().tobytes() for crop in distinct}) == 8


def test_both_ways_to_turn_agree(dataset: Dataset) -> None:
    batch = batch_of(dataset.train, batch=32)
    at_once = patches_module._turned_at_once(batch.hr, batch.symmetry)

    assert torch.equal(at_once, patches_module._turned_one_by_one(batch.hr, batch.symmetry))
    assert at_once.is_contiguous(memory_format=torch.channels_last)


def test_on_a_device_the_host_need_not_know_the_symmetries(dataset: Dataset) -> None:
    """Tensors on `meta` hold no values: whatever waited for one would fail."""
    lr, hr = augment(batch_of(dataset.train).to(torch.device("meta")))

    assert (lr.shape, hr.shape) == ((8, 3, CROP, CROP), (8, 3, CROP * SCALE, CROP * SCALE))
    assert lr.dtype == hr.dtype == torch.float32


def test_validation_images(params: DataParams, dataset: Dataset) -> None:
    valid = dataset.valid
    hr = read_rgb(Path(str(params.folder)) / "00.png")[:, :60]

    assert (len(valid), valid.keys, valid.scale) == (1, ("00",), SCALE)
    np.testing.assert_array_equal(valid.hr(0), hr)
    np.testing.assert_array_equal(valid.lr(0), bicubic_down(hr, SCALE))
    assert torch.from_numpy(valid.lr(0)).dtype == torch.uint8


def steps_of(train: PatchSet, start: int, stop: int, threads: int = 1) -> Any:
    return batches(train, seed=1, start=start, stop=stop, batch=8, share=range(2, 6), augment=True, threads=threads)


@pytest.mark.parametrize("threads", [0, 1, 2, 4])
def test_batches_come_in_order_from_any_step(dataset: Dataset, threads: int) -> None:
    found = list(steps_of(dataset.train, 3, 20, threads))

    assert len(found) == 17
    for step, batch in enumerate(found, start=3):
        assert same(batch, batch_of(dataset.train, step, share=range(2, 6)))
    assert list(steps_of(dataset.train, 3, 3, threads)) == []
    assert made_by_threads() == []


class Recorded:
    """In place of patches: notes what is asked for, fails at one step, and takes the longer the earlier a step is."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.fails_at = fails_at

    def batch(self, seed: int, step: int, *_others: Any, crop: int | None = None) -> int:
        assert crop is None
        self.asked.append(step)
        time.sleep(0.02 * max(0, 4 - step))
        if step == self.fails_at:
            raise OSError("the disk is gone")
        return step


def made_by_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize(("threads", "most"), [(0, 2), (1, 4), (2, 5), (4, 7)])
def test_batches_are_made_ahead_but_not_far(threads: int, most: int) -> None:
    source = Recorded()
    found = steps_of(source, 0, 10, threads)

    assert next(found) == 0
    assert next(found) == 1
    assert len(made_by_threads()) == threads
    found.close()
    assert sorted(source.asked) == list(range(len(source.asked)))
    assert 2 <= len(source.asked) <= most
    assert made_by_threads() == []


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_what_fails_in_a_thread_is_raised_at_its_step(threads: int) -> None:
    found = steps_of(Recorded(fails_at=2), 0, 10, threads)

    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert made_by_threads() == []


def copied(params: DataParams, root: Path) -> tuple[DataParams, Path]:
    """The parameters of a copy of the shards, and the copy."""
    shutil.copytree(Path(params.root) / "shards", root / "shards")
    return dataclasses.replace(params, root=str(root)), root / "shards" / dataset_name(params) / f"x{SCALE}"


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_flipped_bit_is_found_when_asked_for(params: DataParams, tmp_path: Path, split: str) -> None:
    mine, folder = copied(params, tmp_path)
    victim = sorted((folder / split / "bicubic").glob("*.npy"))[-1]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 16
    victim.write_bytes(data)

    assert open_dataset(mine, verify=False).digest == open_dataset(params, verify=True).digest
    with pytest.raises(ShardError, match=rf"{split}/bicubic: 1 of . files are damaged.*\n.*{victim.name}: sha256"):
        open_dataset(mine, verify=True)


def test_shards_of_another_crop_are_refused(params: DataParams) -> None:
    with pytest.raises(ShardError, match=r"for data\.crop 8, but data\.crop is 12; run `python -m sr_core shard`"):
        open_dataset(dataclasses.replace(params, crop=12), verify=False)


def test_lr_of_other_hr_is_refused(params: DataParams, tmp_path: Path) -> None:
    mine, folder = copied(params, tmp_path)
    other = dataclasses.replace(params, root=str(tmp_path / "other"), patch=32)
    build(other, progress=QUIET)
    shutil.rmtree(folder / "train" / "hr")
    shutil.copytree(tmp_path / "other" / "shards" / folder.parent.name / "x2" / "train" / "hr", folder / "train" / "hr")

    with pytest.raises(ShardError, match="train/bicubic: does not belong to the HR shards beside it"):
        open_dataset(mine, verify=False)


def test_shards_that_were_not_built_are_asked_for(params: DataParams) -> None:
    with pytest.raises(ShardError, match=r"x4/train/hr: holds no finished shards; run `python -m sr_core shard`"):
        open_dataset(dataclasses.replace(params, scale=4), verify=False)
