"""Which patch, crop and symmetry are in the batch of a step: pure functions of (seed, step).

There is no loader state: resuming is asking for the next step, and ranks take slices of one global batch, so
their number does not change the sequence. Random bits come from Philox, a counter-based generator, and are
used raw: NumPy promises that a bit generator's stream stays, not what its distributions make of it.

Philox: https://doi.org/10.1145/2063384.2063405
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PER_EPOCH, _PER_STEP, _PER_MEMBER = 1, 2, 3  # streams that never meet
_SYMMETRIES = 8


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """A global batch of B samples: int64 arrays (B,)."""

    patch: NDArray[np.int64]
    top: NDArray[np.int64]  # of the crop in the patch, LR pixels
    left: NDArray[np.int64]
    symmetry: NDArray[np.int64]  # bit 0: flip x, bit 1: flip y, bit 2: then transpose


def draw(*, seed: int, step: int, batch: int, num_patches: int, positions: int, augment: bool) -> Draw:
    """The batch of `step`. A crop starts at one of `positions` LR pixels along each side of its patch.

    Sample i of step s is number s * batch + i of an endless sequence of epochs, each a fresh permutation of
    all patches.
    """
    numbers = np.arange(step * batch, (step + 1) * batch)
    epochs, places = np.divmod(numbers, num_patches)
    patch = np.empty(batch, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        patch[here] = _permutation(seed, int(epoch), num_patches)[places[here]]
    bits = _bits(seed, _PER_STEP, step, 3 * batch).reshape(3, batch)
    return Draw(
        patch=patch,
        top=_below(positions, bits[0]),
        left=_below(positions, bits[1]),
        symmetry=_below(_SYMMETRIES if augment else 1, bits[2]),
    )


def draw_members(*, seed: int, step: int, batch: int, weights: Sequence[float]) -> NDArray[np.int64]:
    """For each sample of `step`'s batch the number (B,) of one of the LR members, as often as `weights` say."""
    # the upper 53 bits are a float64 in [0, 1), exactly
    drawn = (_bits(seed, _PER_MEMBER, step, batch) >> np.uint64(11)) * 2.0**-53
    ends = np.cumsum(np.asarray(weights) / max(weights))
    return np.searchsorted(ends[:-1] / ends[-1], drawn, side="right").astype(np.int64)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.argsort(_bits(seed, _PER_EPOCH, epoch, length), kind="stable")


def _bits(seed: int, stream: int, index: int, count: int) -> NDArray[np.uint64]:
    # the generator counts up the first word only
    counter = np.array([0, index, stream, 0], np.uint64)
    philox = np.random.Philox(key=np.array([seed % 2**64, 0], np.uint64), counter=counter)
    return philox.random_raw(count)


def _below(bound: int, bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    # the bias is below bound / 2**64
    return (bits % np.uint64(bound)).astype(np.int64)
