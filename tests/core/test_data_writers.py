"""What a writer does with photographs that change or cannot be read, and with disks that cannot be written."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import noise, params_for, write_folder

from sr_core.data import degrade, writers
from sr_core.data.images import read_rgb, write_png
from sr_core.data.index import load_index, shard_directories
from sr_core.data.shards import build
from sr_core.data.writers import ShardResult, ShardTask, in_processes
from sr_core.errors import ImageError, ShardError
from sr_core.files import record_of
from sr_core.params import DataParams
from sr_core.progress import QUIET, lines

SIZES = [(50, 61), (48, 70), (90, 55), (49, 49), (64, 48), (57, 83)]  # the first is held out


@pytest.fixture
def params(tmp_path: Path) -> DataParams:
    """A shard for every photograph, LR in three members."""
    photos = write_folder(tmp_path / "photos", SIZES)
    tracks = {"degradation": "mixed", "mixed": {"bicubic": 1.0, "unknown": 1.0}, "variants": 2}
    return params_for(tmp_path / "data", photos, shard_bytes=1, **tracks)


def shards_below(params: DataParams) -> dict[str, Path]:
    base = Path(params.root) / "shards"
    return {str(file.relative_to(base)): file for file in base.rglob("*.npy")}


def test_a_photograph_is_decoded_once_for_all_of_its_shards(params: DataParams, monkeypatch: Any) -> None:
    decoded: list[str] = []

    def counted(path: Path, **others: Any) -> Any:
        decoded.append(path.name)
        return read_rgb(path, **others)

    for module in (writers, degrade):
        monkeypatch.setattr(module, "read_rgb", counted)
    build(params, progress=QUIET)

    assert sorted(decoded) == [f"{i:02}.png" for i in range(6)]


def test_the_index_says_of_every_file_what_is_on_the_disk(params: DataParams) -> None:
    """The sha256 is taken on the way, not from the file."""
    build(params, progress=QUIET)
    for folder in shard_directories(params).values():
        for name, record in load_index(folder).files.items():
            assert record_of(folder / name) == record
            assert np.load(folder / name).dtype == np.uint8


def test_an_image_larger_than_the_buffer_is_written_whole(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", [(701, 1003), (640, 700)])
    params = params_for(tmp_path / "data", photos)
    build(params, progress=QUIET)

    np.testing.assert_array_equal(
        np.load(shard_directories(params)["valid/hr"] / "00.npy"), noise(701, 1003, seed=0)[:700, :1002]
    )


def before_writing(change: Callable[[], None]) -> writers.RunTasks:
    """Runs the tasks here, after `change`."""

    def run(function: Callable[[ShardTask], ShardResult], tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        change()
        yield from map(function, tasks)

    return run


@pytest.mark.parametrize("size", [(90, 55), (91, 55)])
def test_a_photograph_that_changes_meanwhile_is_noticed(params: DataParams, size: tuple[int, int]) -> None:
    path = Path(str(params.folder)) / "02.png"
    change = before_writing(lambda: write_png(path, noise(*size, seed=99)))

    with pytest.raises(ImageError, match=r"1 images cannot be used:\n.*/02\.png: was changed while shards were built"):
        build(params, progress=QUIET, run_tasks=change)
    build(params, progress=QUIET)
    shard = np.load(shard_directories(params)["train/hr"] / "shard-00001.npy")
    np.testing.assert_array_equal(shard[0], noise(*size, seed=99)[:48, :48])


def test_a_photograph_that_goes_meanwhile_is_noticed(params: DataParams) -> None:
    path = Path(str(params.folder)) / "02.png"

    with pytest.raises(ImageError, match=r"/02\.png: there is no such file"):
        build(params, progress=QUIET, run_tasks=before_writing(path.unlink))


def spoil(path: Path) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])


@pytest.mark.parametrize("num_writers", [1, 2])
def test_every_image_that_fails_in_any_group_is_named_hr_and_lr(tmp_path: Path, num_writers: int) -> None:
    raw = tmp_path / "photos"
    for split, keys in (("train", ("0001", "0002", "0003", "0004")), ("valid", ("0801",))):
        for i, key in enumerate(keys):
            write_png(raw / f"DIV2K_{split}_HR/{key}.png", noise(50, 60, seed=i))
            write_png(raw / f"DIV2K_{split}_LR_bicubic/X2/{key}x2.png", noise(25, 30, seed=i + 7))
    bad = ["DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X2/0001x2.png", "DIV2K_train_LR_bicubic/X2/0003x2.png"]
    for name in [*bad, "DIV2K_valid_HR/0801.png"]:
        spoil(raw / name)
    # two photographs in each shard
    params = params_for(tmp_path / "data", raw, shard_bytes=8 * 48 * 48 * 3, num_writers=num_writers)

    with pytest.raises(ImageError, match=r"^4 images cannot be used") as caught:
        build(params, progress=QUIET)
    assert all(f"{raw}/{name}: cannot be decoded" in str(caught.value) for name in bad)
    assert not shards_below(params)


def test_a_full_disk_ends_the_build_with_a_sentence_and_keeps_what_is_finished(
    params: DataParams, monkeypatch: Any
) -> None:
    whole, written = writers._NpyFile.write, [0]

    def fills(file: Any, data: Any) -> None:
        written[0] += len(data)
        if written[0] > 60_000:
            raise OSError(28, "No space left on device")
        whole(file, data)

    with monkeypatch.context() as patched:
        patched.setattr(writers._NpyFile, "write", fills)
        with pytest.raises(ShardError, match=r"x2/train/hr: No space left on device; mend it and run again, what is"):
            build(params, progress=QUIET)
    finished = {name: file.stat().st_mtime_ns for name, file in shards_below(params).items()}
    assert len(finished) in range(4, 16)
    assert not [name for name in finished if ".tmp" in name]
    build(params, progress=QUIET)
    assert finished.items() <= {name: file.stat().st_mtime_ns for name, file in shards_below(params).items()}.items()


def test_what_is_in_the_way_is_named(params: DataParams) -> None:
    Path(params.root).mkdir()
    (Path(params.root) / "shards").write_text("no folder")

    with pytest.raises(ShardError, match=r"data/shards.*: Not a directory; mend it and run again"):
        build(params, progress=QUIET)


def die_at_the_fifth(task: ShardTask) -> ShardResult:
    """In place of `write_shards`: the process is killed in the middle of a file."""
    if task.outputs[0].path.name == "shard-00004.npy" and multiprocessing.parent_process():
        writers._cut = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    return writers.write_shards(task)


def test_after_a_killed_writer_only_what_is_missing_is_written(params: DataParams) -> None:
    def run(_: Any, tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        return in_processes(2)(die_at_the_fifth, tasks)

    with pytest.raises(ShardError, match="was killed"):
        build(params, progress=QUIET, run_tasks=run)
    finished = {name: file.stat().st_mtime_ns for name, file in shards_below(params).items() if ".tmp" not in name}
    assert any("shard-00000" in name for name in finished)
    assert [name for name in shards_below(params) if ".tmp" in name]
    build(params, progress=QUIET)

    after = {name: file.stat().st_mtime_ns for name, file in shards_below(params).items()}
    assert finished.items() <= after.items()
    assert not [name for name in after if ".tmp" in name]


def test_a_patch_that_is_too_large_is_said_once(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", SIZES)
    said: list[str] = []
    build(params_for(tmp_path / "data", photos, patch=64), progress=lines(said.append))

    clamped = [line for line in said if "data.patch" in line]
    assert len(clamped) == 1
    assert "data.patch: is 64, but " in clamped[0]
    assert "48 pixels: patches of 48 are stored" in clamped[0]
    assert "stored/raw 2." in said[-1]


def test_more_than_three_times_is_said(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", [(20, 20), (22, 60), (60, 60), (60, 60)])
    said: list[str] = []
    build(params_for(tmp_path / "data", photos), progress=lines(said.append))

    (line,) = [line for line in said if line.startswith("data.crop")]
    assert "times, where 3 is aimed at, because " in line
    assert "01.png is 60x22 pixels; lower data.crop" in line
