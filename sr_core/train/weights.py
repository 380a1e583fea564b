"""Networks' weights from wherever they are: what training publishes, what `export` wrote, what authors published.

    a model directory     weights.safetensors, and card.json, which says what network they are for and their sha256
    a run directory       its best weights, a model directory as well
    one file of ours      .safetensors with the card in its metadata, which has the sha256 of the tensors
    an author's file      .pt, .pth or .safetensors with the names that sr_core/models/published.py knows

A pickle can run code when it is read. `torch.load` reads only tensors and plain values here (weights_only=True): whole
modules are refused. Every tensor is checked: its name, its shape, and that it is finite.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor, nn

from sr_core import files, models
from sr_core.errors import CheckpointError, ConfigError, shown
from sr_core.models import state_dicts
from sr_core.models.card import Card, Origin, from_dict
from sr_core.models.layouts.reading import Given
from sr_core.models.published import Recognised, recognise
from sr_core.train import checkpoint
from sr_core.train.checkpoint import BEST, CHECKPOINTS, read_tensors, write_tensors

WEIGHTS, CARD = "weights.safetensors", "card.json"
IN_METADATA = "sr_core_card"  # of a single file
SAFETENSORS = ".safetensors"
FILE_SUFFIXES = (SAFETENSORS, ".pt", ".pth", ".ckpt", ".bin")
AUTHORS_LICENCE = "its authors': see where the file came from"
_FETCH = "fetch it again"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A network ready to use (evaluation mode, float32, on the CPU), its card, and what was assumed of it."""

    network: nn.Module
    card: Card
    assumed: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what an author's file does not tell


def save_model(directory: Path, weights: Mapping[str, Tensor], card: Card, extra: Mapping[str, str]) -> Card:
    """Writes a model directory: weights, card with the weights' sha256, and text files `extra` by name."""
    with files.commit_directory(directory) as partial:
        write_tensors(partial / WEIGHTS, weights)
        card = dataclasses.replace(card, weights_sha256=files.record_of(partial / WEIGHTS).sha256)
        for name, text in extra.items():
            files.write_atomic(partial / name, text)
        files.write_atomic(partial / CARD, files.to_json(dataclasses.asdict(card)))
    return card


def read_card(directory: Path) -> Card:
    """The card in a model directory.

    Raises:
        CheckpointError: there is none, or it is not one.
    """
    path = directory / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path}: missing; expected a model directory: train first") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: is not a model card ({error})") from None
    return from_dict(values, where=str(path))


def load_model(path: Path, given: Given | None = None) -> LoadedModel:
    """Builds the network whose weights are at `path` (see above) and fills them in.

    `given` says what an author's file does not tell; nothing else takes it.

    Raises:
        CheckpointError: nothing is there, it is damaged, or card, weights and network do not belong together.
        ConfigError: the card names a network this version does not have, or what is given is no option of it.
    """
    if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir():
        return _load_file(path, given)
    if path.is_file():
        endings = ", ".join(FILE_SUFFIXES)
        raise CheckpointError(f"{path}: is not a weight file, expected one that ends in {endings}; unpack an archive")
    directory = directory_of(path)
    card = _without_given(read_card(directory), directory, given)
    weights = directory / WEIGHTS
    found = files.record_of(weights).sha256 if weights.is_file() else "no file"
    if found != card.weights_sha256:
        raise CheckpointError(
            f"{weights}: sha256 is {found[:12]}, its card says {card.weights_sha256[:12]}; "
            "fetch or train the model again"
        )
    return LoadedModel(network=_built(card, read_tensors(weights), weights), card=card)


def load_state(path: Path) -> dict[str, Tensor]:
    """The state dict in the file at `path`, of whatever network it may be.

    Raises:
        CheckpointError: it cannot be read, is damaged, or holds something else.
    """
    _check_head(path)
    loaded = read_tensors(path) if path.suffix.lower() == SAFETENSORS else _unpickled(path)
    try:
        return state_dicts.find(loaded)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def open_model(given: str | Path, scale: int) -> LoadedModel:
    """`load_model`, or, by its name and for `scale`, a network that has no weights: bicubic, lanczos, …

    Raises:
        CheckpointError, ConfigError: as `load_model`.
    """
    path, name = Path(given), str(given)
    if not is_interpolation(given):
        return load_model(path)
    network = models.build(name, scale=scale, preset="small", options={})
    return LoadedModel(network=network.eval(), card=Card(model=name, preset="small", options={}, scale=scale))


def is_interpolation(given: str | Path) -> bool:
    """Whether `given` names a network without weights, and nothing is there that is called so."""
    name = str(given)
    return name in models.MODELS and not models.MODELS[name].is_trainable and not Path(given).exists()


def digits_of(given: Path) -> str:
    """What tells a model from others in the name of a folder: of its weights' sha256, or its name if it has none."""
    if is_interpolation(given):
        return str(given)
    sha256 = files.record_of(given).sha256 if given.is_file() else read_card(directory_of(given)).weights_sha256
    return sha256[:8]


def directory_of(path: Path) -> Path:
    """The model directory that is meant by a model directory or a run directory."""
    return model_of_run(path) if (path / CHECKPOINTS).is_dir() else path


def model_of_run(run_dir: Path) -> Path:
    """The model directory with the best weights of a run so far.

    Raises:
        CheckpointError: there is none yet, or no checkpoint is whole.
    """
    manifest = checkpoint.newest(run_dir / CHECKPOINTS).manifest
    if manifest is None or manifest.best_step is None:
        raise CheckpointError(f"{run_dir}: has no best weights yet; train on until the first validation")
    return run_dir / BEST / f"step-{manifest.best_step:08d}"


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 in hex of names, types, shapes and bytes of `tensors`, whatever their order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_file(path: Path, given: Given | None) -> LoadedModel:
    _check_head(path)
    if path.suffix.lower() != SAFETENSORS:
        return _load_published(path, _unpickled(path), given)
    tensors = read_tensors(path)
    with safetensors.safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(IN_METADATA)
    if text is None:
        return _load_published(path, tensors, given)
    card = _without_given(from_dict(_json(text, path), where=f"{path}, card"), path, given)
    if digest_of(tensors) != card.weights_sha256:
        raise CheckpointError(
            f"{path}: its tensors' sha256 is {digest_of(tensors)[:12]}, its card says {card.weights_sha256[:12]}; "
            "fetch or export it again"
        )
    return LoadedModel(network=_built(card, tensors, path), card=card)


def _json(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: its card is not JSON ({error}); {_FETCH}, or export it again") from None


def _without_given(card: Card, path: Path, given: Given | None) -> Card:
    if given not in (None, Given()):
        raise ConfigError(f"{path}: has a card that says all of its network; leave out --set")
    return card


def _load_published(path: Path, loaded: object, given: Given | None) -> LoadedModel:
    try:
        found = recognise(state_dicts.find(loaded), given)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    _check_given(found, given, path)
    sha256 = files.record_of(path).sha256
    preset, options = _preset_and_options(found)
    card = Card(
        model=found.name,
        preset=preset,
        options=options,
        scale=found.scale,
        origin=Origin(file=path.name, sha256=sha256, names=found.source),
        weights_sha256=sha256,
        licence=AUTHORS_LICENCE,
    )
    return LoadedModel(network=_built(card, dict(found.tensors), path, found), card=card, assumed=found.assumed)


def _check_given(found: Recognised, given: Given | None, path: Path) -> None:
    """Whether the file holds the network that is given, if one is; else says the first key that differs."""
    name, scale = (given.model if given else None) or found.name, (given.scale if given else None) or found.scale
    if (name, scale) == (found.name, found.scale):
        return
    options = found.options if name == found.name else {}
    wanted = models.build(name, scale=scale, preset="small", options=options)
    held = f"{path}: holds {found.name} x{found.scale} by the names of {found.source}"
    check_tensors(wanted, found.tensors, f"{held}, and not {name} x{scale}", f"{name} x{scale}", found.name_in_file)


def _preset_and_options(found: Recognised) -> tuple[str, dict[str, Any]]:
    """Every option of the network, and the preset that it is, if it is one."""
    entry = models.MODELS[found.name]
    fields = [field for field in dataclasses.fields(entry.config) if field.name != "scale"]
    defaults: dict[str, Any] = {field.name: field.default for field in fields}
    same = [name for name, preset in entry.presets.items() if defaults | dict(preset) == defaults | dict(found.options)]
    return (*same, "small")[0], defaults | dict(found.options)


def _built(card: Card, tensors: dict[str, Tensor], path: Path, found: Recognised | None = None) -> nn.Module:
    network = models.build(card.model, scale=card.scale, preset=card.preset, options=card.options)
    check_tensors(network, tensors, f"{path}", f"{card.model} x{card.scale}", found.name_in_file if found else str)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def check_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], where: str, what: str, shown_as: Callable[[str], str] = str
) -> None:
    """Whether `tensors` are finite and exactly those of `network`, which is `what`.

    Raises:
        CheckpointError: says the first that is not, by the name that `shown_as` gives it, and both shapes.
    """
    own = network.state_dict()
    for name in (*own, *(name for name in tensors if name not in own)):
        expected = tuple(own[name].shape) if name in own else "no such tensor"
        shape = tuple(tensors[name].shape) if name in tensors else "absent"
        if expected != shape:
            raise CheckpointError(f"{where}: {shown_as(name)} is {shape}, {what} has {expected}")
        if not _is_finite(tensors[name]):
            raise CheckpointError(f"{where}: {shown_as(name)} holds NaN or infinity; take another checkpoint")


def _is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite: a sum, at a quarter of the price, says so unless it overflows."""
    return math.isfinite(tensor.sum(dtype=torch.float64).item()) or bool(torch.isfinite(tensor).all())


def _check_head(path: Path) -> None:
    """What can be known of a weight file before it is read."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected a weight file") from None
    if not head:
        raise CheckpointError(f"{path}: is empty; {_FETCH}")
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path}: is a web page and no weight file; {_FETCH}")
    is_archive = head.startswith((b"PK", b"\x80")) or path.suffix.lower() == SAFETENSORS
    if not is_archive:
        raise CheckpointError(f"{path}: begins with {head[:8]!r}, expected what torch.save writes; {_FETCH}")


def _unpickled(path: Path) -> object:
    """What torch.save wrote to `path`: tensors, plain values, numpy's scalars; nothing that could run."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_plain_values()):
            warnings.simplefilter("ignore")  # on storages of old files
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(f"{path}: {_why_unread(path, error)}") from None


def _plain_values() -> list[Any]:
    """What trainers save beside tensors, and what cannot run anything: numpy's numbers, parsed arguments."""
    scalar = np.float64(0).__reduce__()[0]
    numbers = [type(np.dtype(name)) for name in "bhilqBHILQefd?"]
    named = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*named, np.dtype, *numbers, argparse.Namespace]


def _why_unread(path: Path, error: Exception) -> str:
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if not any(name.endswith("data.pkl") for name in names):
            return f"is a zip archive around {shown(', '.join(names[:3]))}; unpack it and take the weight file in it"
    text = " ".join(str(error).split()).rpartition("WeightsUnpickler error: ")[2]
    needed = re.search(r"GLOBAL (\S+) (?:was|whose)|(?:unrecognized function|but got) (\S+)", text)
    if needed or "TorchScript" in text:
        what = f"needs {shown(needed[1] or needed[2])}" if needed else "is TorchScript"
        return (
            f"is no plain state dict but a pickle that {what} and could run code when it is read, expected tensors "
            "alone; where you trust it, load it with its own code and torch.save(network.state_dict(), file)"
        )
    return f"is truncated or damaged ({type(error).__name__}: {shown(text.partition('. ')[0][:100])}); {_FETCH}"
