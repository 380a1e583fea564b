"""Where the names of dots in a plot go, so that none lies on another or on a dot.

Each name is tried beside its dot first, then above and below it, then farther away; the first place that is free is
taken, or the one that covers least.
"""

import math
from collections.abc import Iterator, Sequence

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom

DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (0.7, -0.7), (-0.7, -0.7), (0.7, 0.7), (-0.7, 0.7))
NEAR, FAR = 10.0, 170.0  # pixels between a dot and its name
STEP = 12.0


def placed(
    dots: Sequence[Point],
    sizes: Sequence[Point],
    within: Rectangle,
    taken: Sequence[Rectangle] = (),
    *,
    radius: float = 6.0,
) -> tuple[Rectangle, ...]:
    """The rectangles of names of these (width, height), one per dot, all in pixels; `taken` is better left free."""
    blocked = [*taken, *((x - radius, y - radius, x + radius, y + radius) for x, y in dots)]
    found: list[Rectangle] = []
    for dot, size in zip(dots, sizes, strict=True):
        found.append(_best(dot, size, within, [*blocked, *found]))
    return tuple(found)


def is_far(dot: Point, name: Rectangle) -> bool:
    """Whether a name needs a line to its dot."""
    x, y = nearest(dot, name)
    return math.dist(dot, (x, y)) > NEAR + STEP


def nearest(dot: Point, name: Rectangle) -> Point:
    """The point of `name` next to `dot`."""
    left, top, right, bottom = name
    return min(max(dot[0], left), right), min(max(dot[1], top), bottom)


def covered(one: Rectangle, other: Rectangle) -> float:
    """The area that two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _best(dot: Point, size: Point, within: Rectangle, blocked: Sequence[Rectangle]) -> Rectangle:
    best, least = None, math.inf
    for place in _places(dot, size):
        outside = size[0] * size[1] - covered(place, within)
        cost = sum(covered(place, other) for other in blocked) + 4 * outside
        if cost < least - 1e-6:
            best, least = place, cost
        if least <= 1e-6:
            break
    assert best is not None
    return best


def _places(dot: Point, size: Point) -> Iterator[Rectangle]:
    """Rectangles around `dot`, the nearest first."""
    width, height = size
    distance = NEAR
    while distance <= FAR:
        for x, y in DIRECTIONS:
            # the rectangle's middle, so far out that its edge is `distance` from the dot
            middle = (dot[0] + x * distance + _sign(x) * width / 2, dot[1] + y * distance + _sign(y) * height / 2)
            left, top = middle[0] - width / 2, middle[1] - height / 2
            yield left, top, left + width, top + height
        distance += STEP


def _sign(value: float) -> float:
    return (value > 0) - (value < 0)
