"""The mixed degradation: no pixels of its own, but how often each track is drawn, and which members a track has.

In training a member is drawn for each sample, as a function of (seed, step): see `order.py`. A validation image has
one track for good, drawn by the sha256 of (degradation_seed, key), so that scores of one run and another compare.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Mapping

from sr_core.data.archives import Split
from sr_core.data.index import HR, MIXED, ShardIndex, members_of
from sr_core.files import digest_of
from sr_core.params import DataParams

_HEX_DIGITS = 13  # 52 bits: a float64 below 1, exactly


def mixed_index(params: DataParams, split: Split, indexes: Mapping[str, ShardIndex]) -> ShardIndex:
    """The index of `split`'s mixed directory, from those of its members by name (`train/unknown-1`)."""
    hr = indexes[f"{split}/{HR}"]
    members = [
        f"{split}/{member}"
        for track in params.mixed
        for member in members_of(track, indexes[f"{split}/{track}"].variants)
    ]
    return dataclasses.replace(
        hr,
        track=MIXED,
        kind="mixed",
        files={},
        members={name: indexes[name].digest for name in sorted(members)},
        weights={track: float(weight) for track, weight in sorted(params.mixed.items())},
        tracks=drawn_tracks(params, hr.keys) if split == "valid" else {},
    )


def member_weights(params: DataParams, indexes: Mapping[str, ShardIndex]) -> dict[str, float]:
    """By training member (`unknown-1`), how often it is drawn: its track's weight, shared evenly among the track's."""
    weights = indexes[f"train/{MIXED}"].weights if params.degradation == MIXED else {params.degradation: 1.0}
    variants = {track: indexes[f"train/{track}"].variants for track in weights}
    return {
        member: weights[track] / variants[track]
        for track in sorted(weights)
        for member in members_of(track, variants[track])
    }


def drawn_tracks(params: DataParams, keys: tuple[str, ...]) -> dict[str, str]:
    """The track of each validation image."""
    tracks = sorted(params.mixed)
    # cumulative weights up to 1
    ends = list(itertools.accumulate(params.mixed[track] / max(params.mixed.values()) for track in tracks))
    ends = [end / ends[-1] for end in ends]
    drawn = {key: int(digest_of([params.degradation_seed, key])[:_HEX_DIGITS], 16) / 16**_HEX_DIGITS for key in keys}
    return {key: tracks[bisect.bisect(ends, place)] for key, place in drawn.items()}
