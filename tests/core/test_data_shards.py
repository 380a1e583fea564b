import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import CROP, SCALE, noise, params_for, write_folder

from sr_core.data.images import read_rgb, write_png
from sr_core.data.index import INDEX
from sr_core.data.pairs import ImagePair
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build, load_index, plan, verify
from sr_core.data.sources import dataset_name
from sr_core.data.writers import ShardResult, ShardTask, in_processes, note_path
from sr_core.errors import BusyError, ImageError, ShardError
from sr_core.files import is_alive, lock_directory
from sr_core.params import DataParams
from sr_core.progress import QUIET

SIZES = [(50, 61), (48, 70), (90, 55), (49, 49), (64, 48), (57, 83)]  # the first is held out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", SIZES)


def small_shards(root: Path, folder: Path, **others: Any) -> DataParams:
    """Parameters that give a shard for every photograph."""
    return params_for(root, folder, **{"shard_bytes": 1, **others})


def shards_in(root: Path) -> Path:
    return next((root / "shards").glob("photos-*"), root / "shards" / "absent") / f"x{SCALE}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def built(root: Path, folder: Path, **others: Any) -> dict[str, bytes]:
    build(small_shards(root, folder, **others), progress=QUIET)
    return contents(shards_in(root))


def written_by(params: DataParams) -> list[str]:
    """The files that a build of `params` writes."""
    written: list[str] = []

    def note(function: Callable[[ShardTask], ShardResult], tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        outputs = [output.path for task in tasks for output in task.outputs]
        written.extend(f"{path.parent.name}/{path.name}" for path in outputs)
        yield from map(function, tasks)

    build(params, progress=QUIET, run_tasks=note)
    return written


def test_layout(tmp_path: Path, photos: Path) -> None:
    files = built(tmp_path, photos)
    shards = [f"shard-{i:05}.npy" for i in range(5)]

    assert sorted(files) == sorted(
        [f"train/{track}/{name}" for track in ("hr", "bicubic") for name in [*shards, INDEX]]
        + [f"valid/{track}/{name}" for track in ("hr", "bicubic") for name in ("00.npy", INDEX)]
    )
    index = load_index(shards_in(tmp_path) / "train" / "hr")
    assert (index.patch, index.crop, index.kind) == (48, CROP, "patches")
    assert index.keys == ("01", "02", "03", "04", "05")
    arrays = [np.load(shards_in(tmp_path) / "train" / "hr" / name) for name in shards]
    assert index.count == sum(len(array) for array in arrays) == 2 + 6 + 1 + 2 + 6
    stored, raw = sum(array.size for array in arrays), sum(h * w * 3 for h, w in SIZES[1:])
    assert index.stored_per_raw == pytest.approx(stored / raw, abs=1e-3)


def test_shards_are_closed_at_about_shard_bytes(tmp_path: Path, photos: Path) -> None:
    build(params_for(tmp_path, photos, shard_bytes=5 * 48 * 48 * 3), progress=QUIET)
    folder = shards_in(tmp_path) / "train"

    for track in ("hr", "bicubic"):
        # 2 + 6 patches, then 1 + 2 + 6
        assert [len(np.load(file)) for file in sorted((folder / track).glob("*.npy"))] == [8, 9]


def test_patches_are_slices_of_the_photographs_and_cover_them(tmp_path: Path, photos: Path) -> None:
    built(tmp_path, photos)
    for number in range(1, 6):
        hr = read_rgb(photos / f"{number:02}.png")
        lr = bicubic_down(hr, SCALE)
        hr_patches, lr_patches = (
            np.load(shards_in(tmp_path) / "train" / track / f"shard-{number - 1:05}.npy") for track in ("hr", "bicubic")
        )
        covered = np.zeros(lr.shape[:2], bool)
        for hr_patch, lr_patch in zip(hr_patches, lr_patches, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(lr, (24, 24, 3))[:, :, 0]
            ((top, left),) = np.argwhere((windows == lr_patch).all(axis=(2, 3, 4)))
            np.testing.assert_array_equal(hr[2 * top : 2 * top + 48, 2 * left : 2 * left + 48], hr_patch)
            covered[top : top + 24, left : left + 24] = True
        assert covered.all()


def test_an_lr_patch_is_its_hr_patch_degraded(tmp_path: Path, photos: Path) -> None:
    built(tmp_path, photos)
    hr, lr = (np.load(shards_in(tmp_path) / "train" / track / "shard-00002.npy") for track in ("hr", "bicubic"))

    for hr_patch, lr_patch in zip(hr, lr, strict=True):
        # near its border the kernel saw what lies outside of the patch
        np.testing.assert_array_equal(bicubic_down(hr_patch, SCALE)[2:-2, 2:-2], lr_patch[2:-2, 2:-2])


def test_validation_images_are_whole_and_fit(tmp_path: Path, photos: Path) -> None:
    built(tmp_path, photos)
    hr, lr = (np.load(shards_in(tmp_path) / "valid" / track / "00.npy") for track in ("hr", "bicubic"))

    np.testing.assert_array_equal(hr, read_rgb(photos / "00.png")[:, :60])
    np.testing.assert_array_equal(lr, bicubic_down(hr, SCALE))


def test_one_and_three_writers_give_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    assert built(tmp_path / "one", photos) == built(tmp_path / "three", photos, num_writers=3)


def test_the_version_is_that_of_the_data_not_of_the_place(tmp_path: Path, photos: Path) -> None:
    moved = write_folder(tmp_path / "elsewhere" / "photos", SIZES)
    first = build(small_shards(tmp_path / "a", photos), progress=QUIET)
    second = build(small_shards(tmp_path / "b", moved), progress=QUIET)

    assert first == second
    assert sorted(first.indexes) == ["train/bicubic", "train/hr", "valid/bicubic", "valid/hr"]
    write_png(moved / "03.png", noise(49, 49, seed=99))
    changed = build(small_shards(tmp_path / "b", moved), progress=QUIET)
    assert changed.digest != first.digest
    assert changed.indexes["valid/hr"] == first.indexes["valid/hr"]


def test_the_plan_is_a_function_of_its_arguments(tmp_path: Path) -> None:
    """No file is there at all."""

    def pairs(numbers: range) -> list[ImagePair]:
        paths = [Path(f"/nowhere/{i:02}.png") for i in numbers]
        return [ImagePair(key=path.stem, hr=path, height=60, width=70, lr={}) for path in paths]

    arguments = {"train": pairs(range(1, 4)), "valid": pairs(range(1))}
    digests = {pair.hr: f"digest of {pair.key}" for split in arguments.values() for pair in split}
    params = small_shards(tmp_path, Path("/nowhere"))

    assert plan(params, arguments, digests) == plan(params, arguments, digests)
    other = plan(params, arguments, digests | {Path("/nowhere/02.png"): "another"})
    mine, other = plan(params, arguments, digests).tracks, other.tracks
    changed = [out.path.name for a, b in zip(mine, other, strict=True) for out in set(a.outputs) - set(b.outputs)]
    assert changed == ["shard-00001.npy", "shard-00001.npy"]


def test_a_second_build_writes_nothing(tmp_path: Path, photos: Path) -> None:
    built(tmp_path, photos)
    before = {file: file.stat().st_mtime_ns for file in shards_in(tmp_path).rglob("*")}

    assert written_by(small_shards(tmp_path, photos)) == []
    assert before == {file: file.stat().st_mtime_ns for file in shards_in(tmp_path).rglob("*")}


def test_hr_is_shared_by_degradations(tmp_path: Path) -> None:
    raw = tmp_path / "photos"
    for split, keys in (("train", ("0001", "0002")), ("valid", ("0801",))):
        for i, key in enumerate(keys):
            write_png(raw / f"DIV2K_{split}_HR/{key}.png", noise(50, 60, seed=i))
            write_png(raw / f"DIV2K_{split}_LR_unknown/X2/{key}x2.png", noise(25, 30, seed=i + 7))
    params = small_shards(tmp_path, raw)
    bicubic = build(params, progress=QUIET)
    before = contents(shards_in(tmp_path))

    unknown = dataclasses.replace(params, degradation="unknown")
    assert written_by(unknown) == ["unknown/shard-00000.npy", "unknown/shard-00001.npy", "unknown/0801.npy"]
    after = contents(shards_in(tmp_path))
    assert before.items() <= after.items()
    np.testing.assert_array_equal(np.load(shards_in(tmp_path) / "valid/unknown/0801.npy"), noise(25, 30, seed=7))
    version = build(unknown, progress=QUIET)
    assert version.indexes["train/hr"] == bicubic.indexes["train/hr"]
    assert written_by(params) == []


def test_another_crop_or_patch_builds_anew_and_leaves_nothing_behind(tmp_path: Path, photos: Path) -> None:
    first = built(tmp_path, photos)
    other = built(tmp_path, photos, crop=10, patch=32, shard_bytes=10**9)

    assert {name for name in other if name.startswith("train/hr")} == {f"train/hr/{INDEX}", "train/hr/shard-00000.npy"}
    assert load_index(shards_in(tmp_path) / "train" / "hr").patch == 32
    assert built(tmp_path, photos) == first


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("track", ["train/hr", "train/bicubic"])
def test_verify_names_every_damaged_file(tmp_path: Path, photos: Path, track: str) -> None:
    built(tmp_path, photos)
    folder = shards_in(tmp_path) / track
    verify({folder: load_index(folder)})
    flip(folder / "shard-00001.npy", at=500)
    (folder / "shard-00003.npy").write_bytes(b"")
    (folder / "shard-00004.npy").unlink()

    with pytest.raises(ShardError) as caught:
        verify({folder: load_index(folder)})
    message = str(caught.value)
    assert "3 of 5 files are damaged; run `python -m sr_core shard`" in message
    assert "shard-00001.npy: sha256" in message
    assert "shard-00003.npy: 0 bytes" in message
    assert "shard-00004.npy: missing" in message


def test_just_the_damaged_files_are_built_again(tmp_path: Path, photos: Path) -> None:
    before = built(tmp_path, photos)
    flip(shards_in(tmp_path) / "train" / "hr" / "shard-00002.npy")
    (shards_in(tmp_path) / "valid" / "bicubic" / "00.npy").unlink()

    assert written_by(small_shards(tmp_path, photos)) == ["hr/shard-00002.npy", "bicubic/00.npy"]
    assert contents(shards_in(tmp_path)) == before


@pytest.mark.parametrize("content", ["", "{}", '{"version": 99}', "[1]", '{"version": 1, "files": 3}'])
def test_a_damaged_index_is_named_and_built_again(tmp_path: Path, photos: Path, content: str) -> None:
    before = built(tmp_path, photos)
    folder = shards_in(tmp_path) / "train" / "hr"
    (folder / INDEX).write_text(content)

    with pytest.raises(ShardError, match=r"train/hr/index\.json.*run `python -m sr_core shard`"):
        load_index(folder)
    assert built(tmp_path, photos) == before


def test_shards_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no finished shards; run `python -m sr_core shard`"):
        load_index(tmp_path / "train" / "hr")


KILLED = """
import os, signal, sys
from pathlib import Path
from sr_core.params import DataParams
from sr_core.data import shards, writers
from sr_core.progress import QUIET

cut, calls = writers._cut, []

def cut_or_die(*arguments):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    cut(*arguments)

writers._cut = cut_or_die
fields = {"root": sys.argv[1], "folder": sys.argv[2], "scale": 2, "crop": 8}
shards.build(DataParams(source="folder", num_writers=1, shard_bytes=1, **fields), progress=QUIET)
"""


def test_a_build_that_was_killed_goes_on_and_gives_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    """SIGKILL in the middle of the third shard."""
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a", photos], check=False)
    assert ended.returncode == -signal.SIGKILL
    left = shards_in(tmp_path / "a") / "train" / "hr"
    assert not (left / INDEX).exists()
    assert any(".tmp" in file.name for file in left.iterdir())

    written = written_by(small_shards(tmp_path / "a", photos))
    assert "hr/shard-00002.npy" in written
    assert not {"hr/shard-00000.npy", "hr/shard-00001.npy"} & set(written)
    assert contents(shards_in(tmp_path / "a")) == built(tmp_path / "b", photos)


def test_what_a_killed_build_left_is_not_trusted_blindly(tmp_path: Path, photos: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "a", photos], check=False)
    flip(shards_in(tmp_path / "a") / "train" / "hr" / "shard-00000.npy")
    write_png(photos / "02.png", noise(90, 55, seed=50))

    written = written_by(small_shards(tmp_path / "a", photos))
    assert {"hr/shard-00000.npy", "hr/shard-00001.npy"} <= set(written)
    assert contents(shards_in(tmp_path / "a")) == built(tmp_path / "b", photos)


SLOW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_data_shards import slow
from sr_core.data.writers import in_processes

if __name__ == "__main__":
    for pid in in_processes(2)(slow, [0, 0, 60, 60]):
        print(pid, flush=True)
"""


def slow(seconds: Any) -> Any:
    """In place of a task: says who ran it."""
    time.sleep(seconds)
    return os.getpid()


def test_writers_end_when_the_build_is_killed(tmp_path: Path) -> None:
    # a file, because spawned processes import the script that started them
    script = tmp_path / "script.py"
    script.write_text(SLOW)
    here = str(Path(__file__).parent)
    with subprocess.Popen([sys.executable, script, here], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pids = {int(child.stdout.readline()) for _ in range(2)}
        child.kill()
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert pids
    assert not any(map(is_alive, pids))


def die(task: Any) -> Any:
    """In place of a task: the process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_ends_the_build_with_a_sentence() -> None:
    with pytest.raises(ShardError, match="was killed, perhaps for want of memory"):
        list(in_processes(2)(die, [1, 2, 3]))  # type: ignore[list-item]


def damage_pixels(path: Path) -> None:
    """Damage in the middle of the file, which no header shows."""
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])


def test_all_images_that_cannot_be_decoded_are_named(tmp_path: Path, photos: Path) -> None:
    for number in (0, 2, 4):
        damage_pixels(photos / f"{number:02}.png")

    with pytest.raises(ImageError) as caught:
        build(small_shards(tmp_path, photos), progress=QUIET)
    message = str(caught.value)
    assert "3 images cannot be used" in message
    assert message.count("cannot be decoded") == 3
    assert all(f"{number:02}.png" in message for number in (0, 2, 4))
    # only whole files are left, for the next build to go on with
    left = [file for file in shards_in(tmp_path).rglob("*") if file.is_file()]
    assert not [file for file in left if ".tmp" in file.name or file.name == INDEX]
    assert all(note_path(file) in left for file in left if file.suffix == ".npy")


def test_a_full_disk_is_one_sentence(tmp_path: Path, photos: Path) -> None:
    def full(function: Any, tasks: Any) -> Iterator[ShardResult]:
        raise OSError(28, "No space left on device", "shard-00000.npy")
        yield

    with pytest.raises(ShardError, match=r"shard-00000\.npy: No space left on device; mend it and run again"):
        build(small_shards(tmp_path, photos), progress=QUIET, run_tasks=full)


def test_a_second_builder_is_refused(tmp_path: Path, photos: Path) -> None:
    params = small_shards(tmp_path, photos)
    lock = tmp_path / ".locks" / f"shards-{dataset_name(params)}-x{SCALE}"
    with lock_directory(lock), pytest.raises(BusyError, match="in use"):
        build(params, progress=QUIET)


def test_patches_hardly_larger_than_the_crop_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", [(20, 20), (18, 18), (120, 120)])

    with pytest.raises(ShardError, match=r"data\.crop: crops of 8 x 2 .* patches of 18 .* times; lower .*01\.png"):
        build(small_shards(tmp_path / "data", folder), progress=QUIET)
    assert not shards_in(tmp_path / "data").exists()
