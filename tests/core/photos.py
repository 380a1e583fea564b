"""Small made-up photographs, and the parameters to use them with."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_core.data.images import write_png
from sr_core.params import DataParams

CROP = 8  # LR pixels
SCALE = 2


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3) of which no two places are alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_folder(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """A flat folder of images 00.png, 01.png, … of `sizes` (height, width)."""
    for i, (height, width) in enumerate(sizes):
        write_png(folder / f"{i:02}.png", noise(height, width, seed=i))
    return folder


def params_for(root: Path, folder: Path, **others: Any) -> DataParams:
    """Parameters under which the photographs in `folder` are built below `root`, in this process."""
    fields = {"scale": SCALE, "crop": CROP, "num_writers": 1} | others
    return DataParams(source="folder", root=str(root), folder=str(folder), **fields)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    """`image` in the file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def sixteen_bit_rgb(path: Path) -> Path:
    """A PNG of 40 x 40 pixels, colour type 2 and bit depth 16, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(40 * 6) for _ in range(40)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path
