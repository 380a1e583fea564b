"""What a data set holds, from the headers of its files, and what its shards will take.

Nothing is built and nothing fetched. What is missing or refused is listed, all of it, and the rest is surveyed: a look
at the data is most wanted where something is wrong with them.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sr_core.data import archives, div2k, sources
from sr_core.data.archives import Archive, Split
from sr_core.data.degrade import num_variants
from sr_core.data.images import SUFFIXES, ImageHeader, read_header
from sr_core.data.index import load_index, shard_directories, version_of
from sr_core.data.pairs import SPLITS, ImagePair, find_all_pairs, hr_files, is_flat, needs_files
from sr_core.errors import ImageError, ShardError, SourceError, SrError, shown
from sr_core.inspect.estimate import Member, estimate
from sr_core.params import TRACKS, DataParams
from sr_core.progress import Progress, size_text

DIV2K_SIZE = (1356, 2040)  # a usual HR image of DIV2K, from which its shards are estimated before it is there
NOT_THERE = "not there, and cannot be made here"
TO_FETCH = "to fetch"
AT_HOME = "DIV2K has them; fetched when wanted"

_PUBLISHED = {(archive.track, archive.scale) for archive in archives.ARCHIVES}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """An HR image whose header can be read."""

    path: Path
    header: ImageHeader
    bytes: int

    @property
    def pixels(self) -> int:
        """Its number of pixels."""
        return self.header.height * self.header.width


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """All that is known without decoding."""

    name: str
    params: DataParams
    raw: Path
    photographs: Mapping[Split, tuple[Photograph, ...]]
    origins: Mapping[str, str]  # by track: where its LR images come from
    pairs: tuple[ImagePair, ...]  # usable ones of both splits, for pictures
    members: tuple[Member, ...]  # shards to be
    assumed: str  # what the estimate stands on, if not on headers
    problems: tuple[str, ...]  # each one sentence
    ignored: Mapping[str, int]  # by suffix: files in a plain folder that are not looked at
    to_fetch: tuple[Archive, ...]
    version: str  # the digest of built shards; empty if there are none
    no_version: str  # why not

    @property
    def raw_bytes(self) -> int:
        """What the HR files take on disk."""
        return sum(each.bytes for split in self.photographs.values() for each in split)

    @property
    def shard_bytes(self) -> int:
        """What all shards of the parameters will take."""
        return sum(member.bytes for member in self.members)


def survey(params: DataParams, *, progress: Progress) -> Survey:
    """A survey of the data set of `params`.

    Raises:
        SourceError: there is no such folder at all.
    """
    raw, problems, to_fetch = _place(params, progress)
    files = _listed(params, raw, problems)
    photographs = _headers(params, files, problems, progress)
    pairs, more = _pairs(params, raw, photographs)
    refused = tuple(f"{shown(path)}: " for path in {*files["train"], *files["valid"]} - _paths(photographs))
    problems += [line for line in more if line not in problems and not line.startswith(refused)]
    sizes = {split: [(each.header.height, each.header.width) for each in photographs[split]] for split in SPLITS}
    assumed = ""
    if params.source == "div2k" and not any(sizes.values()):
        sizes = {split: [DIV2K_SIZE] * len(archives.NUMBERS[split]) for split in SPLITS}
        assumed = f"{DIV2K_SIZE[1]}x{DIV2K_SIZE[0]} pixels each, DIV2K's usual size"
    version, no_version = _version(params)
    members, refusal = estimate(params, sizes, _variants(params, pairs))
    return Survey(
        name=sources.dataset_name(params),
        params=params,
        raw=raw,
        photographs=photographs,
        origins=_origins(params, raw, pairs, to_fetch),
        pairs=pairs,
        members=members,
        assumed=assumed,
        problems=tuple(problems + ([refusal] if refusal else [])),
        ignored=_ignored(raw),
        to_fetch=to_fetch,
        version=version,
        no_version=no_version,
    )


def _paths(photographs: Mapping[Split, Sequence[Photograph]]) -> set[Path]:
    return {each.path for split in photographs.values() for each in split}


def _place(params: DataParams, progress: Progress) -> tuple[Path, list[str], tuple[Archive, ...]]:
    """The folder with the photographs, what is wrong with it, and the archives that DIV2K still lacks."""
    if params.source == "div2k":
        return _place_of_div2k(params)
    if params.folder is not None and not Path(params.folder).is_dir():
        raise SourceError(f"{shown(params.folder)}: there is no such folder, expected one of photographs")
    try:
        return sources.materialise(params, progress=progress), [], ()
    except SourceError as error:
        return Path(params.folder or Path(params.root) / "raw" / params.source), [str(error)], ()


def _place_of_div2k(params: DataParams) -> tuple[Path, list[str], tuple[Archive, ...]]:
    raw = Path(params.root) / "raw" / "div2k"
    try:
        needed = archives.needed(params)
    except SourceError as error:
        return raw, [str(error)], ()
    found = div2k.look(raw, needed)
    return raw, [*found.offenders, *(line for lines in found.damage.values() for line in lines)], found.todo


def _listed(params: DataParams, raw: Path, problems: list[str]) -> dict[Split, tuple[Path, ...]]:
    try:
        return hr_files(params, raw)
    except SrError as error:  # the list of validation images cannot be followed
        problems += [] if str(error) in problems else [str(error)]
        return hr_files(dataclasses.replace(params, valid_list=None), raw)


def _headers(
    params: DataParams, files: Mapping[Split, Sequence[Path]], problems: list[str], progress: Progress
) -> dict[Split, tuple[Photograph, ...]]:
    progress.start("Reading headers", total=sum(map(len, files.values())))
    found: dict[Split, tuple[Photograph, ...]] = {}
    for split, paths in files.items():
        good = []
        for path in paths:
            try:
                header = read_header(path, max_pixels=params.max_pixels)
                good.append(Photograph(path=path, header=header, bytes=path.stat().st_size))
            except ImageError as error:
                problems.append(str(error))
            progress.advance()
        found[split] = tuple(good)
    return found


def _pairs(
    params: DataParams, raw: Path, photographs: Mapping[Split, Sequence[Photograph]]
) -> tuple[tuple[ImagePair, ...], list[str]]:
    """The pairs as shards would be built of them; where some cannot be used, all readable ones, and the reasons."""
    if not any(photographs.values()):
        return (), []
    try:
        return tuple(pair for pairs in find_all_pairs(params, raw).values() for pair in pairs), []
    except SrError as error:
        alone = (
            ImagePair(key=each.path.stem, hr=each.path, height=each.header.height, width=each.header.width, lr={})
            for split in SPLITS
            for each in photographs[split]
        )
        head, *lines = str(error).split("\n  ")
        return tuple(alone), lines if isinstance(error, ImageError) else [f"{head} {line}" for line in lines] or [head]


def _variants(params: DataParams, pairs: Sequence[ImagePair]) -> dict[str, int]:
    """By track, how many LR images each training image has."""
    found = {}
    for track in params.tracks:
        drawn = 1 if track == "bicubic" else params.variants
        found[track] = max((num_variants(pair, params, track) for pair in pairs), default=drawn)
        if needs_files(params, track):
            found[track] = len(archives.layout("train", track, params.scale).files(""))
    return found


def _origins(params: DataParams, raw: Path, pairs: Sequence[ImagePair], to_fetch: Sequence[Archive]) -> dict[str, str]:
    """By track, in the table's order: files that are there, or made here; a track that cannot be had says so."""
    origins = {}
    for track in TRACKS:
        files = [pair.lr[track] for pair in pairs if track in pair.lr]
        folder = archives.layout("train", track, params.scale).folder
        if files:
            size = sum(path.stat().st_size for each in files for path in each)
            origins[track] = f"files of {len(files)} images, {size_text(size)}"
        elif any(archive.track == track for archive in to_fetch):
            origins[track] = TO_FETCH
        elif not is_flat(raw) and (raw / folder).is_dir() and track != "second_order":
            origins[track] = f"files in {folder}"
        elif params.source == "div2k" and (track, params.scale) in _PUBLISHED:
            origins[track] = AT_HOME
        elif needs_files(params, track):
            origins[track] = NOT_THERE
        else:
            origins[track] = "made here"
    return origins


def _ignored(raw: Path) -> dict[str, int]:
    if not raw.is_dir() or not is_flat(raw):
        return {}
    others = (file.suffix.lower() for file in raw.iterdir() if file.is_file() and not file.name.startswith("."))
    return dict(sorted(Counter(shown(suffix) for suffix in others if suffix not in SUFFIXES).items()))


def _version(params: DataParams) -> tuple[str, str]:
    places = shard_directories(params)
    if not any(path.exists() for path in places.values()):
        return "", ""
    try:
        return version_of({name: load_index(path) for name, path in places.items()}).digest, ""
    except ShardError as error:
        return "", str(error)
