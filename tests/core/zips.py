"""Small archives of DIV2K's names and layout, and a table that says so."""

import dataclasses
import io
import zipfile
from pathlib import Path

import pytest
from photos import noise
from PIL import Image

from sr_core.data import archives
from sr_core.data.archives import Archive, Split, members
from sr_core.files import record_of

NUMBERS: dict[Split, range] = {"train": range(1, 4), "valid": range(801, 803)}
SIDE = 96  # of an HR image


def png(height: int, width: int, seed: int = 0) -> bytes:
    """A PNG file of noise."""
    buffer = io.BytesIO()
    Image.fromarray(noise(height, width, seed)).save(buffer, format="PNG")
    return buffer.getvalue()


def content(archive: Archive) -> dict[str, bytes]:
    """What stands in `archive`: images of the right sizes."""
    side = SIDE // archive.scale
    return {name: png(side, side, seed=i) for i, name in enumerate(members(archive))}


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip file of `files`, and of the folders that they are in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as opened:
        for folder in sorted({str(Path(name).parent) for name in files}):
            opened.writestr(zipfile.ZipInfo(f"{folder}/"), b"")
        for name, data in files.items():
            opened.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return path


def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DIV2K of five images, so that archives are small."""
    monkeypatch.setattr(archives, "NUMBERS", NUMBERS)


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """All 22 archives of a DIV2K of five images in `folder`, by name, and the table changed to them."""
    few_images(monkeypatch)
    paths = {each.name: write_zip(folder / each.name, content(each)) for each in archives.ARCHIVES}
    table = tuple(
        dataclasses.replace(each, **dataclasses.asdict(record_of(paths[each.name]))) for each in archives.ARCHIVES
    )
    monkeypatch.setattr(archives, "ARCHIVES", table)
    return paths
