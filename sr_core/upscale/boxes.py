"""Rectangles of pixels, and the symmetries of the square.

Shapes: H W size, C channels.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUARTERS = 4
SYMMETRIES = range(2 * QUARTERS)  # quarter turns of the image, and of its mirror image


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle of pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def longest(self) -> int:
        """The longer side."""
        return max(self.bottom - self.top, self.right - self.left)

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.top >= self.bottom or self.left >= self.right

    def moved(self, down: int, right: int) -> "Box":
        """This box so many pixels further down and to the right."""
        return Box(top=self.top + down, left=self.left + right, bottom=self.bottom + down, right=self.right + right)

    def grown(self, pixels: int, within: "Box") -> "Box":
        """This box with so many pixels more on each side, as far as `within` has them."""
        return Box(
            top=max(self.top - pixels, within.top),
            left=max(self.left - pixels, within.left),
            bottom=min(self.bottom + pixels, within.bottom),
            right=min(self.right + pixels, within.right),
        )

    def clipped(self, within: "Box") -> "Box":
        """What of this box lies in `within`."""
        return self.grown(0, within)

    def turned(self, symmetry: int, height: int, width: int) -> "Box":
        """Where this box of an image of height x width lies in `turned(image, symmetry)`."""
        box, size = self, (height, width)
        if symmetry >= QUARTERS:
            box = Box(top=box.top, left=width - box.right, bottom=box.bottom, right=width - box.left)
        for _ in range(symmetry % QUARTERS):
            box = Box(top=size[1] - box.right, left=box.top, bottom=size[1] - box.left, right=box.bottom)
            size = size[1], size[0]
        return box

    def slices(self, scale: int = 1) -> tuple[slice, slice]:
        """The indices of this box in an image enlarged by `scale`."""
        return slice(self.top * scale, self.bottom * scale), slice(self.left * scale, self.right * scale)


def cut(box: Box, tile: int) -> list[Box]:
    """`box` as boxes of about equal size that are at most `tile` wide and high, row by row."""
    return [
        Box(top=top, left=left, bottom=bottom, right=right)
        for top, bottom in _spans(box.top, box.bottom, tile)
        for left, right in _spans(box.left, box.right, tile)
    ]


def _spans(start: int, stop: int, most: int) -> list[tuple[int, int]]:
    length = stop - start
    num = -(-length // most)
    return [(start + length * i // num, start + length * (i + 1) // num) for i in range(num)]


def frame(outer: Box, inner: Box) -> list[Box]:
    """What of `outer` does not lie in `inner`, which lies in it: above, below, left and right."""
    boxes = [
        Box(top=outer.top, left=outer.left, bottom=inner.top, right=outer.right),
        Box(top=inner.bottom, left=outer.left, bottom=outer.bottom, right=outer.right),
        Box(top=inner.top, left=outer.left, bottom=inner.bottom, right=inner.left),
        Box(top=inner.top, left=inner.right, bottom=inner.bottom, right=outer.right),
    ]
    return [box for box in boxes if not box.is_empty]


def turned(image: NDArray[Any], symmetry: int) -> NDArray[Any]:
    """(H, W, C) -> (H, W, C) or (W, H, C), a view."""
    return np.rot90(image[:, ::-1] if symmetry >= QUARTERS else image, symmetry % QUARTERS)
