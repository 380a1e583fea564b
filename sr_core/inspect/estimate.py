"""What shards will take on disk, from the sizes of the photographs and the plan of `sr_core/data/grid.py`."""

import dataclasses
from collections.abc import Mapping, Sequence

from sr_core.data.archives import Split
from sr_core.data.grid import STORED_AT_MOST, patch_side, stored_per_raw
from sr_core.data.index import HR, members_of
from sr_core.data.pairs import SPLITS
from sr_core.params import DataParams

Size = tuple[int, int]  # height, width


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One directory of shards to be."""

    name: str  # train/hr, valid/unknown-1, …
    count: int  # patches; whole images for validation
    patch: int  # side in HR pixels; 0: whole images
    bytes: int
    stored_per_raw: float  # HR pixels stored per HR pixel of the photographs


def estimate(
    params: DataParams, sizes: Mapping[Split, Sequence[Size]], variants: Mapping[str, int]
) -> tuple[tuple[Member, ...], str]:
    """The members of both splits, and why they would not be as wanted, if so.

    `variants` are the members of each track for training. Images too small for a crop are left out.
    """
    side = params.crop * params.scale
    fitting = [size for size in sizes["train"] if min(size) >= side]
    if not fitting:
        return (), ""
    patch = patch_side(crop=params.crop, scale=params.scale, sizes=fitting, wanted=params.patch)
    stored = stored_per_raw(fitting, patch=patch, crop=params.crop, scale=params.scale)
    num_patches = round(stored * sum(height * width for height, width in fitting) / patch**2)
    valid = [size for size in sizes["valid"] if min(size) >= params.scale]
    area: dict[Split, int] = {
        "train": num_patches * patch**2,
        "valid": sum(_cropped(size, params.scale) for size in valid),
    }
    members = []
    for split in SPLITS:
        for name in [HR, *(each for track in params.tracks for each in _names(track, split, variants))]:
            shrink = 1 if name == HR else params.scale**2
            members.append(
                Member(
                    name=f"{split}/{name}",
                    count=num_patches if split == "train" else len(valid),
                    patch=patch if split == "train" else 0,
                    bytes=3 * area[split] // shrink,
                    stored_per_raw=stored if split == "train" else 1.0,
                )
            )
    return tuple(members), _refusal(params, stored, patch, min(map(min, fitting)))


def _names(track: str, split: Split, variants: Mapping[str, int]) -> tuple[str, ...]:
    return members_of(track, variants[track] if split == "train" else 1)


def _cropped(size: Size, scale: int) -> int:
    height, width = size
    return (height - height % scale) * (width - width % scale)


def _refusal(params: DataParams, stored: float, patch: int, smallest: int) -> str:
    if stored <= STORED_AT_MOST:
        return ""
    key, way_out = ("crop", "lower it") if params.patch is None else ("patch", "raise it, or set it to null")
    return (
        f"data.{key}: every HR pixel would be stored {stored:.1f} times, expected at most {STORED_AT_MOST:g}: crops of "
        f"{params.crop} x {params.scale} HR pixels out of patches of {patch}; {way_out}, or take out images as small "
        f"as {smallest} pixels"
    )
