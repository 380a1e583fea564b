"""What the sections of the parameters share: how a value out of range is said."""

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

Problems: TypeAlias = Iterator[tuple[str, str]]  # (key within the section, what is wrong and what was expected)


def at_least(section: Any, **least: int) -> Problems:
    """The keys of `section` below their bounds."""
    for name, bound in least.items():
        if getattr(section, name) < bound:
            yield name, f"is {getattr(section, name)}, expected {bound} or more"


def fractions(section: Any, *names: str) -> Problems:
    """The keys of `section` that are no probability."""
    for name in names:
        if not 0 <= getattr(section, name) <= 1:
            yield name, f"is {getattr(section, name)}, expected 0 to 1"


def spans(section: Any, **bounds: tuple[float, float]) -> Problems:
    """The keys of `section` that are no [least, most] within their bounds."""
    for name, (lowest, highest) in bounds.items():
        least, most = getattr(section, name)
        if not (lowest <= least <= most <= highest and math.isfinite(most)):
            above = f"{lowest:g} or more" if math.isinf(highest) else f"{lowest:g} to {highest:g}"
            yield name, f"is {[least, most]}, expected [least, most], both {above}"
