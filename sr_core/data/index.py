"""What stands beside shards: index.json, written last, with the bytes and sha256 of every file.

    data/shards/<dataset>/x<S>/train/hr/       shard-00000.npy (K, P, P, 3), …, index.json
    data/shards/<dataset>/x<S>/train/bicubic/  shard-00000.npy (K, P/S, P/S, 3), …, index.json
    data/shards/<dataset>/x<S>/valid/{hr,bicubic}/  <key>.npy (H, W, 3), …, index.json

HR shards are stored once for all degradations; LR shards are aligned with them patch by patch, and say so by
the `hr_digest` that both carry. The digests of the four indexes together are the data version.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from sr_core.data.pairs import SPLITS, Split
from sr_core.data.sources import dataset_name
from sr_core.errors import ShardError, listed
from sr_core.files import FileRecord, digest_of, mismatch, to_json, write_atomic
from sr_core.params import DataParams

INDEX = "index.json"
VERSION = 1  # of the format, and of what is done to pixels
HR = "hr"

_BUILD = "run `python -m sr_core shard`"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardIndex:
    """One directory of shards: what it holds, from what it was made, and every file's digest."""

    version: int
    scale: int
    split: Split
    track: str  # hr, or the degradation
    kind: Literal["patches", "images"]
    patch: int  # side in HR pixels, also in LR shards; 0 for images
    crop: int  # side in LR pixels for which the patches overlap enough; 0 for images
    count: int  # patches or images
    stored_per_raw: float  # HR pixels stored per HR pixel of the photographs
    keys: tuple[str, ...]  # of the photographs, in order
    source_digest: str  # of the photographs' files and of how they were cut
    hr_digest: str  # source_digest of the HR shards that these are aligned with
    files: Mapping[str, FileRecord]  # by name, in order

    @property
    def digest(self) -> str:
        """The sha256 of the content: the version of these data."""
        return digest_of(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataVersion:
    """The digest of a data set as it is trained on, and of its parts (`train/hr`, `valid/bicubic`, …)."""

    digest: str
    indexes: Mapping[str, str]


def version_of(indexes: Mapping[str, ShardIndex]) -> DataVersion:
    """The data version of `indexes` by name."""
    digests = {name: index.digest for name, index in sorted(indexes.items())}
    return DataVersion(digest=digest_of(digests), indexes=digests)


def shard_directories(params: DataParams) -> dict[str, Path]:
    """Where the shards for `params` are, by the names of `DataVersion.indexes`."""
    base = Path(params.root) / "shards" / dataset_name(params) / f"x{params.scale}"
    return {f"{split}/{track}": base / split / track for split in SPLITS for track in (HR, params.degradation)}


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
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["version"] != VERSION:
            raise ShardError(f"{path}: is of version {fields['version']}, expected {VERSION}; {_BUILD}")
        digest = fields.pop("sha256")
        if digest != digest_of(fields):
            raise ShardError(f"{path}: does not match its own sha256; delete it and {_BUILD}")
        fields["files"] = {name: FileRecord(**record) for name, record in fields["files"].items()}
        return ShardIndex(**{**fields, "keys": tuple(fields["keys"])})
    except FileNotFoundError:
        raise ShardError(f"{directory}: holds no finished shards; {_BUILD}") from None
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: is damaged ({type(error).__name__}); delete it and {_BUILD}") from None


def damaged(directory: Path, files: Mapping[str, FileRecord]) -> dict[str, str]:
    """By name, a line on every file in `directory` that is missing or differs; reads them all."""
    found = {name: mismatch(directory / name, record) for name, record in files.items()}
    return {name: text for name, text in found.items() if text is not None}


def verify(directory: Path, index: ShardIndex) -> None:
    """Reads every file of `index` in `directory`.

    Raises:
        ShardError: lists every file that is missing or damaged.
    """
    if damage := damaged(directory, index.files):
        raise ShardError(
            f"{directory}: {len(damage)} of {len(index.files)} files are damaged; {_BUILD} to build just these again:"
            f"{listed(list(damage.values()))}"
        )
