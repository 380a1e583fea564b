"""Where photographs come from, and data/raw/<dataset>/ complete and right.

`sample` is written from installed packages (`sample.py`), `div2k` is fetched and unpacked (`div2k.py`), and a `folder`
is used where it lies and never copied.
"""

import os
from pathlib import Path

from sr_core.data import div2k, sample
from sr_core.data.pairs import hr_files, is_flat
from sr_core.errors import SourceError, shown
from sr_core.files import sha256_bytes
from sr_core.params import DataParams
from sr_core.progress import Progress


def dataset_name(params: DataParams) -> str:
    """The name of the data set's folders below raw/ and shards/."""
    if params.folder is None:
        return params.source
    folder = Path(params.folder).resolve()
    # two folders may have the same name; and `sample` and `div2k` are taken
    return f"{folder.name}-{sha256_bytes(os.fsencode(folder))[:6]}"


def materialise(params: DataParams, *, progress: Progress) -> Path:
    """The folder with the photographs of `params.source`, complete and verified.

    Raises:
        SourceError: photographs are absent or not what they should be; says what is expected where.
    """
    if params.source == "sample":
        return sample.materialise(Path(params.root), progress=progress)
    if params.source == "div2k":
        return div2k.materialise(params, progress=progress)
    assert params.folder is not None
    return _folder(params, Path(params.folder))


def _folder(params: DataParams, raw: Path) -> Path:
    if not raw.is_dir():
        what = f"{shown(raw)} is not a folder" if raw.exists() else f"there is no folder {shown(raw)}"
        raise SourceError(f"data.folder: {what}, expected a folder of at least two HR images")
    images = hr_files(params, raw)
    count = sum(map(len, images.values()))
    empty = [split for split in images if not images[split]]
    if empty and count < 2 and is_flat(raw):
        raise SourceError(
            f"data.folder: {raw} holds {count} images, expected a folder of at least two HR images (PNG, JPEG, TIFF, "
            "BMP or WebP), or one in DIV2K's layout"
        )
    if empty and params.valid_list is not None:
        named = "all images" if empty == ["train"] else "no image"
        raise SourceError(f"data.valid_list: {params.valid_list} names {named} of {raw}, expected some of them")
    if empty:
        raise SourceError(f"data.folder: {raw}/DIV2K_{empty[0]}_HR holds no images; both splits of DIV2K need some")
    return raw
