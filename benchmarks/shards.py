"""What building shards costs: against only decoding the same PNG files, and against cutting PNG sub-images.

    python benchmarks/shards.py [--images 48] [--rounds 3]

The photographs are made here: 2040 x 1356 pixels with about DIV2K's bytes per pixel. Everything is for x4, crop 48,
patches of 480 HR pixels, one degradation (bicubic). A round is, one after the other, on one core unless said:

    decode      Pillow decodes the HR files, then the LR files; nothing else
    files       `build` into an empty folder, LR from files: reading, decoding, hashing, cutting, writing, fsync, index
    made        the same, with LR made here
    two         the same as made, with two writers
    verify      every shard's sha256, as at the start of a training; bytes per second of processor time
    sub-images  HR squares of 480 pixels at every 240, and their LR squares, as PNG (compress level 3): decode, crop,
                encode, as public trainers prepare DIV2K; of the first images only, and counted per HR megapixel

Figures are medians over the rounds' own ratios. Then a process builds shards of images of 40 megapixels, and says its
peak memory. Last line: `sub_images_over_shards: <figure>`, seconds per HR megapixel of the one over `files`.
"""

import argparse
import concurrent.futures
import dataclasses
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from div2k_like import photograph
from numpy.typing import NDArray
from PIL import Image

from sr_core.data.images import write_png
from sr_core.data.index import load_index, shard_directories, verify
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.params import DataParams
from sr_core.progress import QUIET

SCALE, CROP, PATCH = 4, 48, 480
SIDE, STRIDE = 480, 240  # of the HR sub-images
SUB_IMAGED = 3  # photographs that are cut into sub-images in a round
LARGE = (5164, 7746)  # 40 megapixels
BUILD_LARGE = """
import sys
from pathlib import Path
from sr_core.data.shards import build
from sr_core.params import DataParams
from sr_core.progress import QUIET

build(DataParams(root=sys.argv[1], source="folder", folder=sys.argv[2], num_writers=1, patch=480), progress=QUIET)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if min(arguments.images - 1, arguments.rounds) < 1:
        parser.error("--images: expected 2 or more, --rounds 1 or more")
    with tempfile.TemporaryDirectory(prefix="sr-shards-") as folder:
        base = Path(folder)
        megapixels, num_bytes = make_photographs(base / "photographs", arguments.images)
        print(f"photographs: {arguments.images} of 2040x1356, {num_bytes / megapixels / 1e6:.2f} bytes per pixel")
        times = measure(base, arguments.rounds)
        report_large(base)
    report(times, megapixels, arguments.images)


def make_photographs(folder: Path, count: int) -> tuple[float, int]:
    """HR and LR files of `count` photographs in DIV2K's layout, a tenth for validation; HR megapixels and bytes."""
    numbers = range(1, count + 1)
    with concurrent.futures.ProcessPoolExecutor() as pool:
        list(pool.map(make_photograph, [folder] * count, numbers, [number % 10 == 0 for number in numbers]))
    hr = files_of(folder, "HR")
    (folder.parent / "hr").mkdir()
    for split in ("train", "valid"):  # the same photographs without LR files
        (folder.parent / "hr" / f"DIV2K_{split}_HR").symlink_to(folder / f"DIV2K_{split}_HR")
    return count * 2040 * 1356 / 1e6, sum(file.stat().st_size for file in hr)


def make_photograph(folder: Path, number: int, valid: bool) -> None:
    split = "valid" if valid or number == 1 else "train"
    hr = photograph(number)
    write_png(folder / f"DIV2K_{split}_HR" / f"{number:04}.png", hr)
    write_png(folder / f"DIV2K_{split}_LR_bicubic" / f"X{SCALE}" / f"{number:04}x{SCALE}.png", bicubic_down(hr, SCALE))


def files_of(folder: Path, kind: str) -> list[Path]:
    return sorted(file for file in folder.rglob("*.png") if kind in str(file.relative_to(folder)))


def measure(base: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds by name, one figure a round; a first round warms up and is not counted."""
    hr, lr = (files_of(base / "photographs", kind) for kind in ("_HR", "_LR_"))
    with_files = DataParams(
        root=str(base / "files"),
        source="folder",
        folder=str(base / "photographs"),
        scale=SCALE,
        crop=CROP,
        patch=PATCH,
        num_writers=1,
    )
    made = dataclasses.replace(with_files, root=str(base / "made"), folder=str(base / "hr"))
    two = dataclasses.replace(made, root=str(base / "two"), num_writers=2)
    steps: dict[str, Callable[[], object]] = {
        "decode_hr": lambda: decode(hr),
        "decode_lr": lambda: decode(lr),
        "files": lambda: build(with_files, progress=QUIET),
        "made": lambda: build(made, progress=QUIET),
        "two": lambda: build(two, progress=QUIET),
        "verify": lambda: verify_all(made),
        "sub_images": lambda: cut_sub_images(hr[:SUB_IMAGED], lr[:SUB_IMAGED], base / "sub"),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name in ("files", "made", "two", "sub"):
            shutil.rmtree(base / name, ignore_errors=True)
        for name, step in steps.items():
            clock = time.process_time if name == "verify" else time.perf_counter
            start = clock()
            step()
            if turn:
                times[name].append(clock() - start)
    times["verified_bytes"] = [sum(file.stat().st_size for file in (base / "made").rglob("*.npy"))]
    return times


def decode(files: Sequence[Path]) -> None:
    for file in files:
        Image.open(file).load()


def verify_all(params: DataParams) -> None:
    verify({folder: load_index(folder) for folder in shard_directories(params).values()})


def cut_sub_images(hr: Sequence[Path], lr: Sequence[Path], folder: Path) -> None:
    folder.mkdir()
    for hr_file, lr_file in zip(hr, lr, strict=True):
        for file, factor in ((hr_file, 1), (lr_file, SCALE)):
            image = np.asarray(Image.open(file))
            for i, part in enumerate(squares(image, SIDE // factor, STRIDE // factor)):
                Image.fromarray(part).save(folder / f"{file.stem}_{i}.png", compress_level=3)


def squares(image: NDArray[np.uint8], side: int, stride: int) -> list[NDArray[np.uint8]]:
    """Those at every `stride`, and the last ones along each side, as BasicSR has them."""
    tops, lefts = (
        sorted({*range(0, length - side + 1, stride), length - side}) for length in (image.shape[0], image.shape[1])
    )
    return [np.ascontiguousarray(image[top : top + side, left : left + side]) for top in tops for left in lefts]


def report_large(base: Path) -> None:
    """The peak memory of a process that builds shards of images of 40 megapixels, LR made there."""
    tiled = np.tile(photograph(1), (4, 4, 1))[: LARGE[0], : LARGE[1]]
    for i in range(3):
        write_png(base / "large" / f"{i}.png", tiled)
    command = [sys.executable, "-c", BUILD_LARGE, str(base / "from-large"), str(base / "large")]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"peak_memory_of_a_writer_at_40_megapixels_mb: {peak / 1e6:.0f}")


def report(times: dict[str, list[float]], megapixels: float, num_images: int) -> None:
    """One `name: figure` line each."""

    def median(call: Callable[..., float], *names: str) -> float:
        return statistics.median(call(*row) for row in zip(*(times[name] for name in names), strict=True))

    for name, figure in (
        ("decode_ms_per_megapixel", 1e3 * median(lambda hr, lr: hr + lr, "decode_hr", "decode_lr") / megapixels),
        ("build_ms_per_megapixel", 1e3 * median(lambda built: built, "files") / megapixels),
        ("build_over_decode", median(lambda built, hr, lr: built / (hr + lr), "files", "decode_hr", "decode_lr")),
        ("build_with_lr_made_here_over_decode", median(lambda built, hr: built / hr, "made", "decode_hr")),
        ("two_writers_over_one", median(lambda one, two: one / two, "made", "two")),
        ("verified_mb_per_core_s", times["verified_bytes"][0] / median(lambda spent: spent, "verify") / 1e6),
    ):
        print(f"{name}: {figure:.2f}")
    share = min(SUB_IMAGED, num_images) / num_images
    print(f"sub_images_over_shards: {median(lambda cut, built: cut / share / built, 'sub_images', 'files'):.1f}")


if __name__ == "__main__":
    main()
