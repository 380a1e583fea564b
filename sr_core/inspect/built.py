"""A look at shards that are built: what their indexes say, whether the files are there, and some patches.

The files are not read as a whole: `sr_core/data/index.py` verifies them at the start of a training.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sr_core.data.index import HR, INDEX, MIXED, ShardIndex, load_index, members_of, version_of
from sr_core.errors import ShardError, shown
from sr_core.files import size_mismatch
from sr_core.inspect.charts import spread
from sr_core.inspect.report import Report, Section
from sr_core.inspect.sheet import Row
from sr_core.progress import size_text

DEPTHS = ("", "*/", "*/*/", "*/*/*/", "*/*/*/*/")  # below a member, a split, a scale, a data set, all of them


def index_paths(folder: Path) -> list[Path]:
    """The indexes of shards in or below `folder`; none if it holds no shards."""
    found = itertools.chain.from_iterable(folder.glob(f"{depth}{INDEX}") for depth in DEPTHS)
    return sorted(path for path in found if path.is_file() and b'"hr_digest"' in path.read_bytes())


def load_all(folder: Path) -> tuple[dict[Path, ShardIndex], list[str]]:
    """By directory, the indexes in or below `folder` that can be read, and a sentence on each of the others."""
    found, problems = {}, []
    for path in index_paths(folder):
        try:
            found[path.parent] = load_index(path.parent)
        except ShardError as error:
            problems.append(str(error))
    return found, problems


def report_of_shards(folder: Path, indexes: Mapping[Path, ShardIndex], problems: list[str]) -> Report:
    """The shards in or below `folder`."""
    head = ("directory", "holds (HR pixels)", "on disk", "stored / raw")
    lines = tuple(_line(folder, directory, index) for directory, index in indexes.items())
    total = sum(record.bytes for index in indexes.values() for record in index.files.values())
    return Report(
        title=f"Shards {shown(folder.resolve().name)}",
        place=shown(folder),
        facts={"directories": str(len(indexes)), "files, as the indexes say": size_text(total)},
        sections=(Section(title="Shards", head=head, lines=lines),),
        remarks=(
            *(f"data version of {name}: {digest}" for name, digest in _versions(indexes).items()),
            "the files' sizes are compared here, their sha256 by training when it starts",
        ),
        problems=(*problems, *_absent(indexes)),
    )


def patches(indexes: Mapping[Path, ShardIndex], most: int) -> tuple[int, list[Row]]:
    """The scale and a sheet's rows: patches of the first training shard, in HR and in each degradation beside it."""
    hr_dir = next((path for path, index in indexes.items() if index.track == HR and index.kind == "patches"), None)
    if hr_dir is None:
        return 1, []
    beside = [path for path, index in indexes.items() if path.parent == hr_dir.parent and index.kind == "patches"]
    name = next(iter(indexes[hr_dir].files), "")
    try:
        shards = {path.name: np.load(path / name, mmap_mode="r") for path in beside}
    except (OSError, ValueError):  # reported as absent, or of another size
        return 1, []
    shards = {member: shard for member, shard in shards.items() if shard.dtype == np.uint8 and shard.ndim == 4}
    if HR not in shards:
        return 1, []
    count = min(map(len, shards.values()))
    rows = []
    for i in spread(range(count), most):
        pixels = {member: np.asarray(shard[i]) for member, shard in shards.items()}
        rows.append(Row(label=f"patch {i} of {name}", hr=pixels.pop(HR), lr=pixels, notes={}))
    return indexes[hr_dir].scale, rows


def _line(folder: Path, directory: Path, index: ShardIndex) -> tuple[str, ...]:
    held = {
        "patches": f"{index.count} patches {index.patch}x{index.patch}",
        "images": f"{index.count} whole images",
        "mixed": ", ".join(f"{track} {weight:g}" for track, weight in index.weights.items()),
    }[index.kind]
    return (
        str(directory.relative_to(folder)),
        held,
        size_text(sum(record.bytes for record in index.files.values())),
        f"{index.stored_per_raw:.2f}",
    )


def _versions(indexes: Mapping[Path, ShardIndex]) -> dict[str, str]:
    """The data version of each degradation of which both splits are there."""
    found = {}
    for root in sorted({directory.parent.parent for directory in indexes}):
        here = {
            f"{path.parent.name}/{path.name}": index for path, index in indexes.items() if path.parent.parent == root
        }
        for track in sorted({index.track for index in here.values()} - {HR}):
            tracks = {HR, track}
            if track == MIXED:
                tracks |= {name for index in here.values() for name in index.weights}
            parts = {
                name: index
                for name, index in here.items()
                if index.track in tracks and name.partition("/")[2] in members_of(index.track, index.variants)
            }
            if {f"{split}/{each}" for split in ("train", "valid") for each in tracks} <= parts.keys():
                found[f"{root.parent.name}/{root.name} {track}"] = version_of(parts).digest
    return found


def _absent(indexes: Mapping[Path, ShardIndex]) -> list[str]:
    return [
        f"{problem}; run `python -m sr_core shard`"
        for directory, index in indexes.items()
        for name, record in index.files.items()
        if (problem := size_mismatch(directory / name, record))
    ]
