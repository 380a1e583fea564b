"""What is built from which photographs: a pure function of them and the parameters, before any pixel is decoded."""

import dataclasses
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from sr_core.data import degrade
from sr_core.data.archives import Split
from sr_core.data.grid import STORED_AT_MOST, STORED_LIMIT, offsets, patch_side
from sr_core.data.index import HR, VERSION, ShardIndex, directory_of, members_of
from sr_core.data.pairs import SPLITS, ImagePair
from sr_core.data.writers import Output, Piece, ShardTask, Written
from sr_core.errors import ShardError
from sr_core.files import digest_of
from sr_core.params import DataParams


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrackPlan:
    """One directory of shards to be: the files that fill it, and its index, which still lacks them."""

    name: str  # train/hr, …
    directory: Path
    outputs: tuple[Output, ...]
    index: ShardIndex
    keys: Mapping[str, tuple[str, ...]]  # of the photographs in each file

    def with_files(self, finished: Mapping[Path, Written]) -> ShardIndex:
        """The index, complete."""
        written = [finished[output.path] for output in self.outputs]
        files = {output.path.name: each.record for output, each in zip(self.outputs, written, strict=True)}
        shifts = {key: shift for each in written for key, shift in each.shifts.items()}
        return dataclasses.replace(self.index, files=files, shifts=shifts)

    def written(self, index: ShardIndex) -> dict[Path, Written]:
        """What `index`, which is of the same sources, says of each file."""
        return {
            self.directory / name: Written(
                record=record, shifts={key: index.shifts[key] for key in self.keys[name] if key in index.shifts}
            )
            for name, record in index.files.items()
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All directories of shards to be, and the photographs of each group of files."""

    params: DataParams
    tracks: tuple[TrackPlan, ...]
    groups: Mapping[Split, Mapping[str, tuple[Piece, ...]]]  # by file name
    patch: int  # side in HR pixels
    remarks: tuple[str, ...]  # what was decided otherwise than asked for

    def tasks(self, *, without: Container[Path]) -> tuple[ShardTask, ...]:
        """One task for each group that lacks files; those in `without` are there."""
        todo: dict[tuple[Split, str], list[Output]] = defaultdict(list)
        for each in self.tracks:
            for output in each.outputs:
                if output.path not in without:
                    todo[each.index.split, output.path.name].append(output)
        return tuple(
            ShardTask(
                outputs=tuple(todo[split, name]),
                pieces=pieces,
                patch=self.patch if split == "train" else 0,
                params=self.params,
            )
            for split, groups in self.groups.items()
            for name, pieces in groups.items()
            if (split, name) in todo
        )


def plan(params: DataParams, pairs: Mapping[Split, Sequence[ImagePair]], digests: Mapping[Path, str]) -> Plan:
    """What to build: a function of its arguments alone. `digests` are the sha256 of the photographs' files.

    Raises:
        ShardError: patches hardly larger than a crop, so that every pixel would be stored many times.
    """
    sizes = [(pair.height, pair.width) for pair in pairs["train"]]
    patch = patch_side(crop=params.crop, scale=params.scale, sizes=sizes, wanted=params.patch)
    groups: dict[Split, Mapping[str, tuple[Piece, ...]]] = {}
    tracks = []
    for split in SPLITS:
        side = patch if split == "train" else 0
        groups[split] = _grouped([_piece(pair, params, side, digests) for pair in pairs[split]], side, params)
        hr = _track_plan(params, split, HR, 0, groups[split], patch=side)
        tracks.append(hr)
        for track in params.tracks:
            variants = degrade.num_variants(pairs[split][0], params, track) if side else 1
            tracks += [
                _track_plan(params, split, track, i, groups[split], patch=side, hr=hr.index, variants=variants)
                for i in range(variants)
            ]
    smallest = min(pairs["train"], key=lambda pair: min(pair.height, pair.width))
    stored = tracks[0].index.stored_per_raw
    if stored > STORED_LIMIT:
        raise ShardError(
            f"data.crop: crops of {params.crop} x {params.scale} HR pixels out of patches of {patch} would store every "
            f"pixel {stored:.0f} times; lower data.crop, raise data.patch, or take out images as small as {smallest.hr}"
        )
    remarks = tuple(_remarks(params, patch, stored, smallest))
    return Plan(params=params, tracks=tuple(tracks), groups=groups, patch=patch, remarks=remarks)


def _remarks(params: DataParams, patch: int, stored: float, smallest: ImagePair) -> Iterator[str]:
    size = f"{smallest.hr} is {smallest.width}x{smallest.height} pixels"
    if params.patch not in (None, patch):
        yield f"data.patch: is {params.patch}, but {size}: patches of {patch} are stored"
    if params.patch is None and stored > STORED_AT_MOST:
        yield (
            f"data.crop: every pixel is stored {stored:.1f} times, where {STORED_AT_MOST:g} is aimed at, because "
            f"{size}; lower data.crop or take out images as small to store less"
        )


def _piece(pair: ImagePair, params: DataParams, patch: int, digests: Mapping[Path, str]) -> Piece:
    files = (pair.hr, *(file for lr in pair.lr.values() for file in lr))
    piece = Piece(pair=pair, digests={file: digests[file] for file in files})
    if not patch:
        return piece
    tops, lefts = (
        offsets(length // params.scale, patch=patch // params.scale, crop=params.crop)
        for length in (pair.height, pair.width)
    )
    return dataclasses.replace(piece, tops=tops, lefts=lefts)


def _grouped(pieces: Sequence[Piece], patch: int, params: DataParams) -> dict[str, tuple[Piece, ...]]:
    """By file name, the consecutive photographs that go into it."""
    if not patch:
        return {f"{piece.pair.key}.npy": (piece,) for piece in pieces}
    groups: list[list[Piece]] = []
    filled = params.shard_bytes
    for piece in pieces:
        if filled >= params.shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(piece)
        filled += piece.num_patches * patch * patch * 3
    return {f"shard-{i:05}.npy": tuple(group) for i, group in enumerate(groups)}


def _track_plan(
    params: DataParams,
    split: Split,
    track: str,
    variant: int,
    groups: Mapping[str, tuple[Piece, ...]],
    *,
    patch: int,
    hr: ShardIndex | None = None,
    variants: int = 1,
) -> TrackPlan:
    """The plan of one directory; `hr` is the index of the HR track beside it, None for that track itself."""
    member = members_of(track, variants)[variant]
    directory = directory_of(params, split, member)
    pieces = [piece for group in groups.values() for piece in group]
    recipe = "" if track == HR else _recipe(params, track, pieces)
    outputs = tuple(
        Output(
            path=directory / name,
            track=track,
            variant=variant,
            source_digest=digest_of([VERSION, name, member, params.scale, patch, recipe, _cuts(track, variant, group)]),
        )
        for name, group in groups.items()
    )
    count = sum(piece.num_patches for piece in pieces) if patch else len(pieces)
    source_digest = digest_of([output.source_digest for output in outputs])
    raw_pixels = sum(piece.pair.height * piece.pair.width for piece in pieces)
    index = ShardIndex(
        version=VERSION,
        scale=params.scale,
        split=split,
        track=track,
        kind="patches" if patch else "images",
        patch=patch,
        crop=params.crop if patch else 0,
        count=count,
        stored_per_raw=round(count * patch * patch / raw_pixels, 3) if patch else 1.0,
        keys=tuple(piece.pair.key for piece in pieces),
        source_digest=source_digest,
        hr_digest=source_digest if hr is None else hr.hr_digest,
        files={},
        variants=variants,
        recipe=recipe,
    )
    keys = {name: tuple(piece.pair.key for piece in group) for name, group in groups.items()}
    return TrackPlan(name=f"{split}/{member}", directory=directory, outputs=outputs, index=index, keys=keys)


def _recipe(params: DataParams, track: str, pieces: Sequence[Piece]) -> str:
    """Empty where no parameter decides a pixel: all images are the data set's own, as they are."""
    takes_part = any(degrade.needs_hr(piece.pair, params, track) for piece in pieces)
    return degrade.recipe_digest(params, track) if takes_part else ""


def _cuts(track: str, variant: int, pieces: Sequence[Piece]) -> list[tuple[object, ...]]:
    """What tells the content of a file; HR shards serve all degradations, so no LR file may change theirs."""
    found: list[tuple[object, ...]] = []
    for piece in pieces:
        lr = piece.pair.lr.get(track)
        lr_sha256 = None if lr is None else piece.digests[lr[variant]]
        found.append((piece.pair.key, piece.digests[piece.pair.hr], lr_sha256, piece.tops, piece.lefts))
    return found
