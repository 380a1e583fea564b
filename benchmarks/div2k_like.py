"""Archives with DIV2K's names and layout, full of generated images: what a rehearsal downloads.

An image is noise whose amplitude falls with frequency as that of photographs does, with a few hard-edged shapes, at
2040 x 1356 pixels and with about DIV2K's bytes per pixel. LR images are MATLAB's bicubic, and for the unknown track
that of the blurred image.
"""

import concurrent.futures
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from sr_core.data.resize import bicubic_down

WIDTH, HEIGHT = 2040, 1356
OCTAVES = 8
GRAIN = 2.4  # standard deviation of the finest octave, of 255: makes DIV2K's 1.6 bytes per pixel
SPLITS = {"train": range(1, 801), "valid": range(801, 901)}


def photograph(number: int, *, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """(H, W, 3): the same for the same number."""
    random = np.random.Generator(np.random.Philox(number))
    image = np.full((height, width, 3), random.uniform(70, 170, 3), np.float32)
    for octave in range(OCTAVES):
        size = (max(2, width >> octave), max(2, height >> octave))
        noise = Image.fromarray(random.standard_normal(size[::-1], np.float32))
        grey = np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
        image += GRAIN * min(2**octave, 8) * grey[..., None] * random.uniform(0.85, 1.15, 3).astype(np.float32)
    picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture, "RGBA")
    for _ in range(12):
        corners = [(int(x), int(y)) for x, y in random.uniform((0, 0), (width, height), (4, 2))]
        draw.polygon(corners, fill=(*random.integers(0, 256, 3).tolist(), int(random.integers(30, 120))))
    return np.asarray(picture)


def write_archives(folder: Path, *, train: int, valid: int, workers: int, scale: int = 4) -> tuple[Path, ...]:
    """The HR, bicubic and unknown archives with the first `train` and `valid` images of each split, in `folder`."""
    paths = []
    for split, count in (("train", train), ("valid", valid)):
        names = (
            f"DIV2K_{split}_HR.zip",
            f"DIV2K_{split}_LR_bicubic_X{scale}.zip",
            f"DIV2K_{split}_LR_unknown_X{scale}.zip",
        )
        archives = [zipfile.ZipFile(folder / name, "w", zipfile.ZIP_STORED) for name in names]
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            numbers = SPLITS[split][:count]
            for number, files in zip(numbers, pool.map(_files, numbers, [scale] * count), strict=True):
                members = (
                    f"DIV2K_{split}_HR/{number:04}.png",
                    f"DIV2K_{split}_LR_bicubic/X{scale}/{number:04}x{scale}.png",
                    f"DIV2K_{split}_LR_unknown/X{scale}/{number:04}x{scale}.png",
                )
                for archive, member, data in zip(archives, members, files, strict=True):
                    # a fixed date, so that the archives' checksums are the same wherever they are made
                    archive.writestr(zipfile.ZipInfo(member, (2017, 1, 1, 0, 0, 0)), data)
        for archive in archives:
            archive.close()
        paths += [folder / name for name in names]
    return tuple(paths)


def _files(number: int, scale: int) -> tuple[bytes, bytes, bytes]:
    """The PNG files of an image: HR, bicubic and unknown LR."""
    hr = photograph(number)
    blurred = np.asarray(Image.fromarray(hr).filter(ImageFilter.GaussianBlur(1 + number % 3)))
    return _png(hr), _png(bicubic_down(hr, scale)), _png(bicubic_down(blurred, scale))


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
