"""Weights that a run begins with (`train.start`): where they lie, which they are, and how they get into its network.

`train.start` names a network of the table, and then it is the model published for the scale and degradation of this
task that is meant; or a path: of a model directory, a run directory or a weight file. They are read at step 0 only.

Their sha256 is part of the run's identity, the path is not: weights that were moved or copied go on with the same
run, and a parent that was trained again begins another. See `sr_core.train.run` for a parent that is gone.

From the same network at another scale the body is taken over, as EDSR's authors do for x3 and x4: what belongs to the
scale (`scale_dependent` of the network) stays as it was initialised.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from sr_core import files
from sr_core.errors import CheckpointError, ConfigError
from sr_core.models import MODELS, config_of
from sr_core.models.card import Card
from sr_core.params import Params
from sr_core.progress import Progress
from sr_core.train.weights import directory_of, load_model, read_card

REGISTRY = "models:/"  # MLflow's, which only flows reach


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The weights that a run begins with."""

    given: str  # a network's name, or an absolute path
    path: Path
    sha256: str  # of the weights


def parent_of(params: Params) -> str | None:
    """The network of the table that `train.start` names; None where it is a path, or null."""
    return params.train.start if params.train.start in _names() else None


def _names() -> list[str]:
    return [name for name, entry in MODELS.items() if entry.is_trainable]


def given(params: Params) -> str | None:
    """`train.start` in one spelling, from whatever folder it is given: a path is absolute; None if it is null."""
    start = params.train.start
    as_it_is = start is None or parent_of(params) or start.startswith(REGISTRY)
    return start if as_it_is else str(Path(str(start)).absolute())


def path_of(params: Params) -> Path | None:
    """Where the weights are looked for, whether they are there or not; None if `train.start` is null.

    Raises:
        ConfigError: they are in MLflow's registry, or what the run itself publishes.
    """
    start = params.train.start
    if start is None:
        return None
    if start.startswith(REGISTRY):
        raise ConfigError(
            f"train.start: {start} is in MLflow's registry, which only flows reach; start one, such as "
            f"`python -m flows.train {params.model.name}`, or give a model directory or a weight file"
        )
    models = Path(params.data.root) / "models"
    path = models / f"{start}-x{params.data.scale}-{params.data.degradation}" if parent_of(params) else Path(start)
    if path.absolute() == (models / params.task).absolute():
        raise ConfigError(
            f"train.start: {start} is what this run will publish in {path}; expected another model, or null"
        )
    return path


def find(params: Params) -> Start | None:
    """Which weights `params` begin with; None if `train.start` is null. Of a directory, only the card is read.

    Raises:
        ConfigError: as `path_of`; or there is neither such a file or folder nor a network of that name.
        CheckpointError: the published model is not there, or its card is damaged.
    """
    path, spelled = path_of(params), given(params)
    if path is None or spelled is None:
        return None
    if path.is_file():
        return Start(given=spelled, path=path, sha256=files.record_of(path).sha256)
    if path.is_dir():
        return Start(given=spelled, path=path, sha256=read_card(directory_of(path)).weights_sha256)
    name = parent_of(params)
    if name is not None:
        raise CheckpointError(
            f"train.start: {name} means the model in {path}, which is not there; train it first: "
            f"python -m flows.train {name}, or python -m sr_core train --set model.name={name}"
        )
    near = difflib.get_close_matches(str(params.train.start), _names(), n=1)
    meant = f"did you mean {near[0]}?" if near else "expected one that holds weights, or a network's name"
    raise CheckpointError(f"train.start: there is no file or folder {path}; {meant}")


def begin(network: nn.Module, params: Params, *, sha256: str, progress: Progress) -> None:
    """Fills `network`, as `params` build it, with the weights of `params.train.start`, and says what was taken over.

    Raises:
        CheckpointError: they are not those of `sha256` any more, are damaged, or are of another network (names the
            first option or tensor that differs).
    """
    found = find(params)
    if found is None or found.sha256 != sha256:
        now = found.sha256[:8] if found else "null"
        raise CheckpointError(f"train.start: was {sha256[:8]} when the run was started and is {now}; start it again")
    loaded = load_model(found.path)
    scale_dependent: tuple[str, ...] = network.scale_dependent  # type: ignore[assignment]
    new = scale_dependent if loaded.card.scale != params.data.scale else ()
    own = _without(network.state_dict(), new)
    theirs = _without(loaded.network.state_dict(), new)
    if differs := _first_difference(params, loaded.card, own, theirs):
        raise CheckpointError(
            f"train.start: {found.path} holds {loaded.card.model} x{loaded.card.scale}, which {params.model.name} "
            f"x{params.data.scale} of these parameters cannot begin with: {differs}; "
            "give both the same model.preset and model.options, or take other weights"
        )
    network.load_state_dict(theirs, strict=False)
    kept = {name: tensor for name, tensor in network.state_dict().items() if name not in theirs}
    stays = f"; {', '.join(new)} new for x{params.data.scale}: {_counted(kept)}" if new else ""
    progress.say(
        f"begins with {found.path} ({loaded.card.model} x{loaded.card.scale}, {sha256[:8]}): {_counted(theirs)}{stays}"
    )


def _without(tensors: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes or ("\0",))}


def _counted(tensors: Mapping[str, Tensor]) -> str:
    return f"{len(tensors)} tensors of {sum(tensor.numel() for tensor in tensors.values()):,} numbers"


def _first_difference(
    params: Params, card: Card, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> str | None:
    """The first option, and the first tensor, by which weights of another network than `params` build are told."""
    model = params.model
    wanted = config_of(model.name, scale=params.data.scale, preset=model.preset, options=model.options)
    held = config_of(card.model, scale=card.scale, preset=card.preset, options=card.options)
    found = []
    if type(held) is not type(wanted):
        found.append("they are other networks")
    else:
        for field in dataclasses.fields(wanted):
            there, here = getattr(held, field.name), getattr(wanted, field.name)
            if field.name != "scale" and there != here:
                found.append(f"{field.name} is {there} there and {here} here")
                break
    for name in dict.fromkeys([*own, *theirs]):
        there, here = (tuple(each[name].shape) if name in each else "absent" for each in (theirs, own))
        if there != here:
            found.append(f"{name} is {there} there and {here} here")
            break
    return ", ".join(found) or None
