"""Who is compared: opened models under labels that are unique, and everything that is wrong with them at once.

A label is the network's name. Two of one name get the first digits of their weights' sha256; an ONNX file says what it
is, so that it can stand beside the weights it was made of.
"""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from sr_core.compare.report import HR, LR
from sr_core.evaluate.benchmark import BASELINE, count_parameters
from sr_core.train.weights import LoadedModel

DIGITS = 8  # of a sha256, in a label


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A model that takes part."""

    label: str  # unique, and fit for the name of a file
    source: str  # as it was given
    loaded: LoadedModel

    @property
    def num_parameters(self) -> int | None:
        """How many numbers were trained; None where the network hides them."""
        return count_parameters(self.loaded.network)


def line_up(opened: Sequence[tuple[str, LoadedModel]]) -> tuple[Entrant, ...]:
    """`opened` (as it was given, the model) with their labels, in order; bicubic, which always takes part, is left out.

    Look at `problems_of` first: labels of models that are the same are not unique.
    """
    names = Counter(_name(source, loaded) for source, loaded in opened)
    entrants = []
    for source, loaded in opened:
        name = _name(source, loaded)
        digits = f"-{loaded.card.weights_sha256[:DIGITS]}" if names[name] > 1 and loaded.card.weights_sha256 else ""
        entrants.append(Entrant(label=name + digits, source=source, loaded=loaded))
    return tuple(entrant for entrant in entrants if entrant.label != BASELINE)


def problems_of(opened: Sequence[tuple[str, LoadedModel]]) -> Iterator[str]:
    """Every model that cannot be compared with the others, in a line that says why."""
    scales = defaultdict(list)
    first: dict[tuple[str, str], str] = {}
    for source, loaded in opened:
        scales[loaded.card.scale].append(source)
        key = (_name(source, loaded), loaded.card.weights_sha256)
        if key in first:
            yield f"{source}: is the same model as {first[key]}; leave one of them out"
        first.setdefault(key, source)
    if len(scales) > 1:
        said = "; ".join(f"x{scale}: {', '.join(sources)}" for scale, sources in sorted(scales.items()))
        yield f"the models are of different scales, expected one ({said})"


def _name(source: str, loaded: LoadedModel) -> str:
    kind = "-onnx" if source.lower().endswith(".onnx") else ""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", loaded.card.model).lstrip(".") + kind
    return f"model-{name}" if name in {LR, HR, ""} else name
