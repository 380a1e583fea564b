"""Student's t, as far as 95 % intervals need it: scipy is no part of a core install.

The distribution's own finite sums (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4) are exact for whole degrees of
freedom.
"""

import functools
import math

LEVEL = 0.95


@functools.cache
def interval_factor(degrees: int, level: float = LEVEL) -> float:
    """How many standard errors lie on either side of a mean, by Student's t with `degrees` of freedom."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):  # bisection, down to the float's last digits
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
    """P(|t| < tan(angle) sqrt(degrees))."""
    sine, squared = math.sin(angle), math.cos(angle) ** 2
    is_odd = degrees % 2 == 1
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for i in range(degrees // 2):
        total += term
        factor = (2 * i + 2) / (2 * i + 3) if is_odd else (2 * i + 1) / (2 * i + 2)
        term *= factor * squared
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
