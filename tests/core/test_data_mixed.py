"""Tracks with several versions of each image, and the mixed degradation, from photographs to batches."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import CROP, noise, params_for, write_folder
from PIL import Image

from sr_core.data.images import write_png
from sr_core.data.index import INDEX, ShardIndex, load_index, shard_directories
from sr_core.data.mixed import drawn_tracks
from sr_core.data.order import draw, draw_members
from sr_core.data.patches import open_dataset
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.data.writers import in_processes
from sr_core.degradation_params import UnknownParams
from sr_core.errors import ShardError
from sr_core.params import DataParams
from sr_core.progress import QUIET, lines

SIZES = [(50, 61), (48, 70), (90, 55), (49, 49), (64, 48), (57, 83)]
WEIGHTS = {"bicubic": 1.0, "unknown": 3.0}
FIRST = [0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), SIZES)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> DataParams:
    """Built: bicubic once, unknown in two versions; every second photograph is held out."""
    params = mixed_params(tmp_path_factory.mktemp("data"), photos)
    build(params, progress=QUIET)
    return params


def mixed_params(root: Path, folder: Path, **others: Any) -> DataParams:
    fields = {"degradation": "mixed", "mixed": WEIGHTS, "variants": 2, "valid_every": 2, "shard_bytes": 1} | others
    return params_for(root, folder, **fields)


def index_of(params: DataParams, name: str) -> ShardIndex:
    return load_index(shard_directories(params)[name])


def files_of(params: DataParams) -> dict[str, bytes]:
    base = Path(params.root) / "shards"
    return {str(file.relative_to(base)): file.read_bytes() for file in base.rglob("*") if file.is_file()}


def written_by(params: DataParams) -> set[str]:
    """The directories into which a build of `params` writes."""
    written: set[str] = set()

    def note(function: Any, tasks: Any) -> Any:
        written.update("/".join(output.path.parts[-3:-1]) for task in tasks for output in task.outputs)
        yield from map(function, tasks)

    build(params, progress=QUIET, run_tasks=note)
    return written


def member(params: DataParams, name: str) -> np.ndarray:
    """All patches of a training member."""
    return np.concatenate([np.load(file) for file in sorted(shard_directories(params)[f"train/{name}"].glob("*.npy"))])


def test_the_directories_of_mixed(mixed: DataParams) -> None:
    assert list(shard_directories(mixed)) == [
        *(f"train/{name}" for name in ("hr", "bicubic", "unknown", "unknown-1", "mixed")),
        *(f"valid/{name}" for name in ("hr", "bicubic", "unknown", "mixed")),
    ]
    folder = shard_directories(mixed)["train/mixed"]
    assert [file.name for file in folder.iterdir()] == [INDEX]
    index = load_index(folder)
    assert (index.kind, index.weights, index.files) == ("mixed", WEIGHTS, {})
    assert index.members == {
        f"train/{name}": index_of(mixed, f"train/{name}").digest for name in ("bicubic", "unknown", "unknown-1")
    }


def test_versions_of_an_image_differ_and_lie_patch_by_patch_under_the_same_hr(mixed: DataParams) -> None:
    first, second = member(mixed, "unknown"), member(mixed, "unknown-1")

    assert first.shape == second.shape == member(mixed, "bicubic").shape
    assert all((one != other).any() for one, other in zip(first, second, strict=True))


def test_members_are_drawn_as_often_as_their_weights_say() -> None:
    weights = (1.0, 1.5, 0.25)
    drawn = np.concatenate([draw_members(seed=3, step=step, batch=100, weights=weights) for step in range(100)])
    expected = 10_000 * np.array(weights) / sum(weights)

    assert (abs(np.bincount(drawn, minlength=3) - expected) < 5 * np.sqrt(expected)).all()


def test_a_member_is_a_function_of_seed_and_step_alone() -> None:
    def drawn(seed: int, step: int) -> list[int]:
        return draw_members(seed=seed, step=step, batch=40, weights=(1, 1)).tolist()

    assert drawn(1, 7) == drawn(1, 7)
    assert drawn(1, 7) != drawn(1, 8)
    assert drawn(1, 7) != drawn(2, 7)
    # runs are resumed by later versions: these numbers may never change
    assert drawn(1, 0)[:16] == FIRST
    assert draw_members(seed=1, step=0, batch=3, weights=(1e308, 1e308)).tolist() == FIRST[:3]


def test_training_sees_each_track_with_its_weight(mixed: DataParams) -> None:
    """Every crop is found in just the member that was drawn, and HR and symmetries are those of any other run."""
    train = open_dataset(mixed, verify=True).train
    members = [member(mixed, name) for name in ("bicubic", "unknown", "unknown-1")]
    counts = np.zeros(3, int)
    for step in range(60):
        drawn = draw(seed=5, step=step, batch=16, num_patches=len(train), positions=17, augment=True)
        found = train.batch(5, step, 16, range(16), True)
        assert found.symmetry.tolist() == drawn.symmetry.tolist()
        for i, (k, y, x) in enumerate(zip(drawn.patch, drawn.top, drawn.left, strict=True)):
            crop = found.lr[i].permute(1, 2, 0).numpy()
            (source,) = [j for j, lr in enumerate(members) if np.array_equal(lr[k, y : y + CROP, x : x + CROP], crop)]
            counts[source] += 1

    expected = counts.sum() * np.array([2, 3, 3]) / 8  # unknown's weight is shared by its two versions
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_the_shares_of_the_ranks_are_the_global_batch(mixed: DataParams) -> None:
    train = open_dataset(mixed, verify=False).train
    whole = train.batch(1, 3, 8, range(8), True).lr
    parts = [train.batch(1, 3, 8, share, True).lr for share in (range(3), range(3, 8))]

    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_validation_image_has_one_track_for_good(mixed: DataParams) -> None:
    valid = open_dataset(mixed, verify=False).valid
    index = index_of(mixed, "valid/mixed")

    assert index.tracks == drawn_tracks(mixed, ("00", "02", "04"))
    for i, key in enumerate(valid.keys):
        expected = np.load(shard_directories(mixed)[f"valid/{index.tracks[key]}"] / f"{key}.npy")
        np.testing.assert_array_equal(valid.lr(i), expected)


def test_validation_tracks_are_drawn_with_their_weights_by_seed_and_key(mixed: DataParams) -> None:
    keys = tuple(map(str, range(2000)))
    drawn = drawn_tracks(mixed, keys)

    assert list(drawn.values()).count("unknown") == pytest.approx(1500, abs=100)
    assert drawn_tracks(mixed, keys[::-1]) == drawn
    assert drawn_tracks(dataclasses.replace(mixed, degradation_seed=1), keys) != drawn


def test_the_number_of_workers_changes_no_byte(tmp_path: Path, photos: Path, mixed: DataParams) -> None:
    again = mixed_params(tmp_path, photos)
    build(again, progress=QUIET, run_tasks=in_processes(3))

    assert files_of(again) == files_of(mixed)


def test_its_tracks_are_shared_with_other_degradations(tmp_path: Path, photos: Path) -> None:
    params = mixed_params(tmp_path, photos)
    unknown = dataclasses.replace(params, degradation="unknown")
    assert written_by(unknown) == {f"train/{name}" for name in ("hr", "unknown", "unknown-1")} | {
        f"valid/{name}" for name in ("hr", "unknown")
    }
    assert written_by(params) == {"train/bicubic", "valid/bicubic"}
    before = open_dataset(params, verify=True).digest
    assert before == build(params, progress=QUIET).digest
    assert written_by(unknown) == set()
    other = dataclasses.replace(params, mixed={"bicubic": 1.0, "unknown": 1.0})
    assert written_by(other) == set()
    assert open_dataset(other, verify=True).digest != before


def test_another_range_builds_just_its_track_anew(tmp_path: Path, photos: Path) -> None:
    params = mixed_params(tmp_path, photos)
    build(params, progress=QUIET)
    other = dataclasses.replace(params, unknown=UnknownParams(gaussian_sigma=(0.5, 1.0), motion_probability=0.0))

    assert written_by(other) == {"train/unknown", "train/unknown-1", "valid/unknown"}
    assert written_by(dataclasses.replace(other, variants=3)) == {"train/unknown-2"}


@pytest.mark.parametrize(
    "other",
    [
        {"variants": 1},
        {"degradation_seed": 9},
        {"mixed": {"bicubic": 1.0, "unknown": 1.0}},
        {"mixed": {"bicubic": 1.0}},
        {"unknown": UnknownParams(kernel_size=11)},
    ],
)
def test_shards_of_other_parameters_are_refused(mixed: DataParams, other: dict[str, Any]) -> None:
    with pytest.raises(ShardError, match=r"was built for other parameters .*; run `python -m sr_core shard`"):
        open_dataset(dataclasses.replace(mixed, **other), verify=False)


def test_a_flipped_bit_in_any_member_is_found_and_named(tmp_path: Path, photos: Path) -> None:
    params = mixed_params(tmp_path, photos)
    build(params, progress=QUIET)
    for name in ("train/unknown-1", "valid/bicubic"):
        file = min(shard_directories(params)[name].glob("*.npy"))
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)

    said: list[str] = []
    with pytest.raises(ShardError) as caught:
        open_dataset(params, verify=True, progress=lines(said.append))
    assert said[0] == "Verifying shards: 21"
    for expected in ("2 of 21 files are damaged", "train/unknown-1/shard-00000.npy: sha256", "valid/bicubic/00.npy"):
        assert expected in str(caught.value)
    assert written_by(params) == {"train/unknown-1", "valid/bicubic"}


def wild(root: Path) -> tuple[Path, dict[str, list[tuple[int, int]]]]:
    """Photographs in DIV2K's layout with four wild LR images each, and how far these are shifted."""
    raw, shifts = root / "photos", {}
    for split, keys in (("train", ("0001", "0002")), ("valid", ("0801",))):
        for key in keys:
            smooth = Image.fromarray(noise(60, 72, seed=int(key))).resize((288, 240), Image.Resampling.BICUBIC)
            hr = np.asarray(smooth)
            write_png(raw / f"DIV2K_{split}_HR" / f"{key}.png", hr)
            shifts[key] = [(1, -2), (0, 3), (-2, 0), (0, 0)][: 4 if split == "train" else 1]
            for i, shift in enumerate(shifts[key]):
                name = f"{key}x4w{i + 1 if split == 'train' else ''}.png"
                write_png(raw / f"DIV2K_{split}_LR_wild" / name, np.roll(bicubic_down(hr, 4), shift, (0, 1)))
    return raw, shifts


@pytest.mark.parametrize("align", [False, True])
def test_wild_has_four_members_whose_shifts_are_undone_if_asked_for(tmp_path: Path, align: bool) -> None:
    raw, shifts = wild(tmp_path)
    params = params_for(tmp_path / "data", raw, scale=4, degradation="wild", align=align, shard_bytes=1, patch=240)
    build(params, progress=QUIET)

    assert [name for name in shard_directories(params) if "wild" in name] == [
        *("train/wild", "train/wild-1", "train/wild-2", "train/wild-3", "valid/wild")
    ]
    hr = member(params, "hr")
    for i in range(4):
        index = index_of(params, "train/wild" + (f"-{i}" if i else ""))
        assert index.shifts == ({key: shifts[key][i] for key in ("0001", "0002")} if align else {})
        lr = member(params, "wild" + (f"-{i}" if i else ""))
        straight = np.array_equal(lr[0][8:-8, 8:-8], bicubic_down(hr[0], 4)[8:-8, 8:-8])
        assert straight is (align or i == 3)


def test_shifts_of_files_that_stand_are_kept(tmp_path: Path) -> None:
    raw, _ = wild(tmp_path)
    params = params_for(tmp_path / "data", raw, scale=4, degradation="wild", align=True, shard_bytes=1)
    before = build(params, progress=QUIET)
    (shard_directories(params)["train/wild-1"] / "shard-00001.npy").unlink()

    assert written_by(params) == {"train/wild-1"}
    assert build(params, progress=QUIET) == before
    plain = dataclasses.replace(params, align=False)
    with pytest.raises(ShardError, match=r"data\.align"):
        open_dataset(plain, verify=False)
    assert "train/hr" not in written_by(plain)
    assert open_dataset(plain, verify=True).digest != before.digest


def test_versions_that_are_no_longer_wanted_are_removed(tmp_path, photos):
    fields = {"degradation": "unknown", "variants": 3}
    build(mixed_params(tmp_path, photos, **fields), progress=QUIET)
    fewer = mixed_params(tmp_path, photos, **fields | {"variants": 1})
    build(fewer, progress=QUIET)
    train = shard_directories(fewer)["train/hr"].parent
    assert sorted(path.name for path in train.iterdir()) == ["hr", "unknown"]


def test_a_folder_of_lr_images_may_be_relative(tmp_path, photos, monkeypatch):
    (tmp_path / "lr").mkdir()
    for file in photos.iterdir():
        with Image.open(file) as image:
            write_png(tmp_path / "lr" / f"{file.stem}.png", bicubic_down(np.asarray(image.convert("RGB")), 4))
    monkeypatch.chdir(tmp_path)
    tasks = []

    def recorded(function, given):
        tasks.extend(given)
        return map(function, given)

    params = mixed_params(tmp_path, photos, degradation="bicubic", lr_folder="lr", scale=4, crop=8, variants=1)
    build(params, progress=QUIET, run_tasks=recorded)
    paths = [path for task in tasks for piece in task.pieces for lr in piece.pair.lr.values() for path in lr]
    assert paths
    assert all(path.is_absolute() for path in paths)
