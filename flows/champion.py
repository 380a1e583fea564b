"""Which registered version of a model is its champion: one pure decision.

A version takes the title only with a strictly better mean PSNR on the same test set by the same protocol. Numbers
by another protocol or on other images cannot be compared, so such a version is refused, with the reason said;
evaluating and registering the champion again that way makes them comparable.
"""

import dataclasses
import math
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What one registered version measured, and how."""

    version: int
    protocol: str
    precision: str  # the number format the network computed in
    test_set: str
    test_set_digest: str
    psnr: float  # mean over the test set, dB
    ssim: float

    def to_tags(self) -> dict[str, str]:
        """As the version's tags in the registry; floats in full."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {f"{_PREFIX}{name}": str(value) for name, value in values.items() if name != "version"}

    @classmethod
    def from_tags(cls, version: int, tags: Mapping[str, str]) -> "Figures | None":
        """The reverse of `to_tags`; None if a tag is missing or not what it should be."""
        try:
            return cls(
                version=version,
                protocol=tags[f"{_PREFIX}protocol"],
                precision=tags[f"{_PREFIX}precision"],
                test_set=tags[f"{_PREFIX}test_set"],
                test_set_digest=tags[f"{_PREFIX}test_set_digest"],
                psnr=float(tags[f"{_PREFIX}psnr"]),
                ssim=float(tags[f"{_PREFIX}ssim"]),
            )
        except (KeyError, ValueError):
            return None


_PREFIX = "sr."


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredVersion:
    """A model in the registry, and whether it is its name's champion, with the reason for that."""

    name: str
    version: int
    run_id: str
    weights_sha256: str
    champion: bool
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether a version is champion after it was measured, and why."""

    champion: bool
    reason: str


def decide(new: Figures, champion: Figures | None) -> Decision:
    """Whether `new` takes the title from `champion` (None: there is none)."""
    if not math.isfinite(new.psnr):
        return _refused(f"its mean PSNR is {new.psnr}, expected a finite number")
    if champion is None:
        return Decision(champion=True, reason="first: no other version holds the title")
    if new.version == champion.version:
        return Decision(champion=True, reason=f"it holds the title, with {new.psnr:.4f} dB")
    holder = f"champion version {champion.version}"
    ways = [f"{one.protocol} in {one.precision}" for one in (new, champion)]
    if ways[0] != ways[1]:
        return _refused(f"measured by {ways[0]}, {holder} by {ways[1]}: not comparable")
    if new.test_set_digest != champion.test_set_digest:
        sets = [f"{one.test_set} ({one.test_set_digest[:8]})" for one in (new, champion)]
        return _refused(f"measured on {sets[0]}, {holder} on {sets[1]}: not comparable")
    if new.psnr > champion.psnr:
        return Decision(champion=True, reason=f"better: {_compared(new, champion)}")
    return _refused(f"not better: {_compared(new, champion)}")


def _refused(reason: str) -> Decision:
    return Decision(champion=False, reason=f"refused: {reason}")


def _compared(new: Figures, champion: Figures) -> str:
    return f"{new.psnr:.4f} dB against {champion.psnr:.4f} dB of version {champion.version}"
