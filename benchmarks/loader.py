"""How much faster batches come out of shards than out of PNG sub-images, which public trainers decode.

    python benchmarks/loader.py [--rounds 7]

Both sides give batches of 16 pairs for x4 training, crop 48, from the sample's photographs, on one thread:

    png        for every pair a 480-pixel HR and a 120-pixel LR PNG sub-image (stride 240, compress level 3, as
               BasicSR prepares DIV2K) is read, decoded and cropped; uint8 batch
    shards     `PatchSet.batch`: uint8 batch
    augmented  `PatchSet.batch`, then `augment`: symmetries and float32 on the CPU, which the PNG side is spared

Rounds of the three alternate; figures are medians over rounds. Last line: `loader_augmented_ratio: <figure>`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sr_core.data.patches import Batch, PatchSet, augment, open_dataset
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.params import DataParams
from sr_core.progress import QUIET

SCALE, CROP, BATCH = 4, 48, 16
SIDE, STRIDE = 480, 240  # of the HR sub-images
PNG_STEPS, SHARD_STEPS = 4, 100  # batches in a round


def main() -> None:
    """Prints pairs per second of the three, and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        params = DataParams(root=folder, scale=SCALE, crop=CROP)
        build(params, progress=QUIET)
        patches = open_dataset(params, verify=True).train
        files = cut_sub_images(Path(folder))
        steps: dict[str, tuple[Callable[[int], object], int]] = {
            "png": (lambda step: decoded_batch(files, step), PNG_STEPS),
            "shards": (lambda step: shard_batch(patches, step), SHARD_STEPS),
            "augmented": (lambda step: augment(shard_batch(patches, step)), SHARD_STEPS),
        }
        rates = measure(steps, rounds)
    report(rates, num_files=len(files))


def cut_sub_images(folder: Path) -> list[tuple[Path, Path]]:
    """Writes the (HR, LR) sub-images of the training photographs below `folder`."""
    files = []
    for source in sorted((folder / "raw" / "sample" / "DIV2K_train_HR").iterdir()):
        for i, part in enumerate(sub_images(np.asarray(Image.open(source)))):
            hr, lr = (folder / f"{source.stem}_{i}_{kind}.png" for kind in ("hr", "lr"))
            Image.fromarray(part).save(hr, compress_level=3)
            Image.fromarray(bicubic_down(part, SCALE)).save(lr, compress_level=3)
            files.append((hr, lr))
    return files


def sub_images(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Squares of SIDE at every STRIDE; a photograph that is less high is continued by its mirror image."""
    missing = [(0, max(0, SIDE - length)) for length in image.shape[:2]]
    image = np.pad(image, [*missing, (0, 0)], mode="symmetric")
    for top in range(0, image.shape[0] - SIDE + 1, STRIDE):
        for left in range(0, image.shape[1] - SIDE + 1, STRIDE):
            yield image[top : top + SIDE, left : left + SIDE]


def decoded_batch(files: list[tuple[Path, Path]], step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch as public trainers make it: two PNG files read and decoded for each pair."""
    random = np.random.default_rng(step)
    hr = np.empty((BATCH, CROP * SCALE, CROP * SCALE, 3), np.uint8)
    lr = np.empty((BATCH, CROP, CROP, 3), np.uint8)
    for i in range(BATCH):
        hr_file, lr_file = files[random.integers(len(files))]
        top, left = random.integers(SIDE // SCALE - CROP + 1, size=2)
        lr[i] = np.asarray(Image.open(lr_file))[top : top + CROP, left : left + CROP]
        rows, columns = (slice(start * SCALE, (start + CROP) * SCALE) for start in (top, left))
        hr[i] = np.asarray(Image.open(hr_file))[rows, columns]
    return torch.from_numpy(lr), torch.from_numpy(hr)


def shard_batch(patches: PatchSet, step: int) -> Batch:
    """The batch of a training step."""
    return patches.batch(1, step, BATCH, range(BATCH), True)


def measure(steps: dict[str, tuple[Callable[[int], object], int]], rounds: int) -> dict[str, list[float]]:
    """Pairs per second by name, one figure a round; a first round warms up and is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, (make, count) in steps.items():
            start = time.perf_counter()
            for step in range(turn * count, (turn + 1) * count):
                make(step)
            if turn:
                rates[name].append(count * BATCH / (time.perf_counter() - start))
    return rates


def report(rates: dict[str, list[float]], *, num_files: int) -> None:
    """One `name: figure` line each; ratios are medians of the rounds' own ratios."""
    print(f"sub_images: {num_files}")
    for name, found in rates.items():
        print(f"{name}_pairs_per_s: {statistics.median(found):.0f}")
    for name, label in (("shards", "loader_uint8_ratio"), ("augmented", "loader_augmented_ratio")):
        ratios = [mine / theirs for mine, theirs in zip(rates[name], rates["png"], strict=True)]
        print(f"{label}: {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
