"""What stands beside shards: index.json, written last, with the bytes and sha256 of every file.

    data/shards/<dataset>/x<S>/train/hr/         shard-00000.npy (K, P, P, 3), …, index.json
    data/shards/<dataset>/x<S>/train/bicubic/    shard-00000.npy (K, P/S, P/S, 3), …, index.json
    data/shards/<dataset>/x<S>/train/unknown-1/  as bicubic: the second version of each image of that track
    data/shards/<dataset>/x<S>/valid/{hr,bicubic}/  <key>.npy (H, W, 3), …, index.json
    data/shards/<dataset>/x<S>/{train,valid}/mixed/  index.json alone: the members, their digests, the weights

HR shards are stored once for all degradations; LR shards are aligned with them patch by patch, and say so by
the `hr_digest` that both carry. The digests of all these indexes together are the data version.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias

from sr_core.data.archives import Split
from sr_core.data.pairs import SPLITS
from sr_core.data.sources import dataset_name
from sr_core.errors import ShardError, listed
from sr_core.files import FileRecord, digest_of, mismatch, to_json, write_atomic
from sr_core.params import DataParams
from sr_core.progress import QUIET, Progress

INDEX = "index.json"
VERSION = 2  # of the format, and of what is done to pixels
HR, MIXED = "hr", "mixed"

_BUILD = "run `python -m sr_core shard`"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardIndex:
    """One directory of shards: what it holds, from what it was made, and every file's digest."""

    version: int
    scale: int
    split: Split
    track: str  # hr, a degradation, or mixed
    kind: Literal["patches", "images", "mixed"]
    patch: int  # side in HR pixels, also in LR shards; 0 for images
    crop: int  # side in LR pixels for which the patches overlap enough; 0 for images
    count: int  # patches or images
    stored_per_raw: float  # HR pixels stored per HR pixel of the photographs
    keys: tuple[str, ...]  # of the photographs, in order
    source_digest: str  # of the photographs' files and of how they were cut
    hr_digest: str  # source_digest of the HR shards that these are aligned with
    files: Mapping[str, FileRecord]  # by name, in order
    variants: int = 1  # directories that this track has in this split
    recipe: str = ""  # digest of all parameters that decided LR pixels; empty: none did
    shifts: Mapping[str, tuple[int, int]] = dataclasses.field(
        default_factory=dict
    )  # (dy, dx) undone, LR pixels, by key
    members: Mapping[str, str] = dataclasses.field(default_factory=dict)  # mixed: digests of its indexes by name
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)  # mixed: how often a track is drawn
    tracks: Mapping[str, str] = dataclasses.field(default_factory=dict)  # mixed validation: the track of each key

    @property
    def digest(self) -> str:
        """The sha256 of the content: the version of these data."""
        return digest_of(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataVersion:
    """The digest of a data set as it is trained on, and of its parts (`train/hr`, `valid/bicubic`, …)."""

    digest: str
    indexes: Mapping[str, str]


Load: TypeAlias = Callable[[Path], ShardIndex]  # reads the index of a directory; raises ShardError


def version_of(indexes: Mapping[str, ShardIndex]) -> DataVersion:
    """The data version of `indexes` by name."""
    digests = {name: index.digest for name, index in sorted(indexes.items())}
    return DataVersion(digest=digest_of(digests), indexes=digests)


def shard_directories(params: DataParams, load: Load | None = None) -> dict[str, Path]:
    """Where the shards for `params` are, by the names of `DataVersion.indexes`.

    How many versions of its images a track has is read from its first index (by `load`), where it is there.
    """
    found = {}
    for split in SPLITS:
        found[f"{split}/{HR}"] = directory_of(params, split, HR)
        for track in params.tracks:
            for member in members_of(track, _num_variants(directory_of(params, split, track), load or load_index)):
                found[f"{split}/{member}"] = directory_of(params, split, member)
        if params.degradation == MIXED:
            found[f"{split}/{MIXED}"] = directory_of(params, split, MIXED)
    return found


def directory_of(params: DataParams, split: Split, member: str) -> Path:
    """Where the shards of one member are: `hr`, `unknown`, `unknown-1`, …."""
    return Path(params.root) / "shards" / dataset_name(params) / f"x{params.scale}" / split / member


def members_of(track: str, variants: int) -> tuple[str, ...]:
    """The directories of a track: `unknown`, `unknown-1`, …."""
    return tuple(f"{track}-{i}" if i else track for i in range(variants))


def _num_variants(directory: Path, load: Load) -> int:
    try:
        return load(directory).variants
    except ShardError:
        return 1  # whoever reads the index next is told why


def write_index(directory: Path, index: ShardIndex) -> None:
    """Writes index.json, which makes `directory` complete."""
    write_atomic(directory / INDEX, to_json({**dataclasses.asdict(index), "sha256": index.digest}))


def load_index(directory: Path) -> ShardIndex:
    """The index of the shards in `directory`.

    Raises:
        ShardError: there is none, or it cannot be read.
    """
    path = directory / INDEX
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ShardError(f"{directory}: holds no finished shards; {_BUILD}") from None
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_index(text, path)


def parse_index(text: bytes, path: Path | str) -> ShardIndex:
    """The index that `text` is; `path` is where it came from.

    Raises:
        ShardError: it is none, or damaged.
    """
    try:
        fields = json.loads(text.decode("utf-8"))
        if fields["version"] != VERSION:
            raise ShardError(f"{path}: is of version {fields['version']}, expected {VERSION}; {_BUILD}")
        digest = fields.pop("sha256")
        if digest != digest_of(fields):
            raise ShardError(f"{path}: does not match its own sha256; delete it and {_BUILD}")
        fields["files"] = {name: FileRecord(**record) for name, record in fields["files"].items()}
        fields["shifts"] = {key: tuple(shift) for key, shift in fields["shifts"].items()}
        return ShardIndex(**{**fields, "keys": tuple(fields["keys"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: is damaged ({type(error).__name__}); delete it and {_BUILD}") from None


def damaged(files: Mapping[Path, FileRecord], *, progress: Progress = QUIET) -> dict[Path, str]:
    """A line on every one of `files` that is missing or differs; reads them all, with a thread for each core."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = {}
        for path, text in zip(files, pool.map(mismatch, files, files.values()), strict=True):
            progress.advance()
            if text is not None:
                found[path] = text
    return found


def verify(indexes: Mapping[Path, ShardIndex], *, progress: Progress = QUIET) -> None:
    """Reads every file of `indexes`, which are given by their directories.

    Raises:
        ShardError: lists every file that is missing or damaged.
    """
    files = {folder / name: record for folder, index in indexes.items() for name, record in index.files.items()}
    progress.start("Verifying shards", total=len(files))
    if damage := damaged(files, progress=progress):
        folders = ", ".join(sorted({str(path.parent) for path in damage}))
        raise ShardError(
            f"{folders}: {len(damage)} of {len(files)} files are damaged; {_BUILD} to build just these again:"
            f"{listed(list(damage.values()))}"
        )
