"""Checkpoints that are whole or absent; with train/weights.py the only place that loads weights.

A checkpoint is a directory `step-00000600/` with the tensors (safetensors, never pickle) and `manifest.json`, which
holds their sha256 and is written last; the directory appears by one rename. Measured: naive torch.save under
SIGKILL left 26 of 30 files broken, this way 0 of 30; torch.load accepted 299 of 300 flipped bits, a sha256 none.
The tensors are hashed while they are written, byte for byte as the safetensors library would, so that nothing is
copied as a whole or read again.
"""

import dataclasses
import hashlib
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sr_core import faults, files
from sr_core.errors import CheckpointError
from sr_core.files import FileRecord

CHECKPOINTS, BEST = "checkpoints", "best"  # in a run directory
STATE, MANIFEST = "state.safetensors", "manifest.json"
DIGEST = "sha256"  # of the rest of the manifest
FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a resume must take over or know of a checkpoint; manifest.json holds it with a sha256 of its own."""

    step: int
    precision: str
    num_threads: int
    world_size: int
    torch_version: str
    best_psnr: float | None
    best_step: int | None
    skipped: int = 0  # steps that were left out since step 0; absent in what was written before they were counted
    files: Mapping[str, FileRecord] = dataclasses.field(default_factory=dict)
    version: int = FORMAT_VERSION


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The newest checkpoint that is whole, and one line for each newer one that is not."""

    path: Path | None
    manifest: Manifest | None
    rejected: tuple[str, ...]


def save(directory: Path, tensors: Mapping[str, Tensor], manifest: Manifest, *, keep: int) -> Path:
    """Writes `directory`/step-N and then deletes all but the `keep` newest; returns its path.

    Raises:
        CheckpointError: it cannot be written; the checkpoints before it are as they were.
    """
    path = directory / f"step-{manifest.step:08d}"
    try:
        with files.commit_directory(path) as partial:
            record = write_tensors(partial / STATE, tensors)
            faults.point("save_tensors")
            whole = dataclasses.asdict(dataclasses.replace(manifest, files={STATE: record}))
            files.write_atomic(partial / MANIFEST, _signed(whole))
            faults.point("save_manifest")
        faults.point("save_commit")
        for old in _by_step(directory)[keep:]:
            shutil.rmtree(old)
    except OSError as error:
        raise unwritable(directory, error) from None
    return path


def unwritable(place: Path, error: OSError) -> CheckpointError:
    """What is told of a full disk and the like."""
    return CheckpointError(f"{place}: cannot be written to ({error.strerror or error}); free space and go on")


def newest(directory: Path) -> Found:
    """Looks for the newest whole checkpoint in `directory`, checking every byte.

    Raises:
        CheckpointError: there are checkpoints, and none of them is whole.
    """
    rejected: list[str] = []
    for path in _by_step(directory):
        problem, manifest = _check(path)
        if manifest is not None:
            return Found(path=path, manifest=manifest, rejected=tuple(rejected))
        rejected.append(problem)
    if rejected:
        raise CheckpointError(
            f"{directory}: no checkpoint is whole ({'; '.join(rejected)}); "
            "expected one at least; delete the run directory to start again from step 0"
        )
    return Found(path=None, manifest=None, rejected=())


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of the checkpoint at `path`, on the CPU."""
    return read_tensors(path / STATE)


def discard_after(directory: Path, step: int) -> None:
    """Deletes the checkpoints after `step`: damaged ones must not count among those that are kept."""
    for path in _by_step(directory):
        if path.name > f"step-{step:08d}":
            shutil.rmtree(path)


def _by_step(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*"), reverse=True)


def oldest(directory: Path) -> Manifest | None:
    """What the oldest checkpoint says of itself, its tensors unread; None if there is none or it is damaged."""
    paths = _by_step(directory)
    return _read_manifest(paths[-1])[1] if paths else None


def _check(path: Path) -> tuple[str, Manifest | None]:
    problem, manifest = _read_manifest(path)
    if manifest is None:
        return problem, None
    problems = [text for name, record in manifest.files.items() if (text := files.mismatch(path / name, record))]
    return ("; ".join(problems), None) if problems else ("", manifest)


def _read_manifest(path: Path) -> tuple[str, Manifest | None]:
    """A line on what is wrong with the manifest of the checkpoint at `path`, or the manifest."""
    try:
        data = (path / MANIFEST).read_bytes()
        raw = json.loads(data)
        del raw[DIGEST]
        if data != _signed(raw).encode():  # not only the values: every byte is as it was written
            return f"{path / MANIFEST}: does not match its own sha256", None
        records = {name: files.FileRecord(**record) for name, record in raw.pop("files").items()}
        manifest = Manifest(files=records, **raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{path / MANIFEST}: unreadable ({type(error).__name__})", None
    if manifest.version != FORMAT_VERSION or path.name != f"step-{manifest.step:08d}":
        return f"{path / MANIFEST}: is of step {manifest.step} and format {manifest.version}", None
    return "", manifest


def _signed(raw: Mapping[str, Any]) -> str:
    """The text of a manifest of these values."""
    return files.to_json({**raw, DIGEST: files.digest_of(raw)})


# safetensors' names of types, in the order in which it stores their tensors: the widest first, so all are aligned
_TYPES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    """Writes `tensors` to the safetensors file `path` in a temporary directory; returns its size and sha256.

    Raises:
        CheckpointError: there is no room.
    """
    order = list(_TYPES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb", buffering=0) as file:
            for data in itertools.chain([_header(names, tensors)], (_bytes_of(tensors[name]) for name in names)):
                for start in range(0, len(data), files.CHUNK_BYTES):  # hashed while it is in the cache
                    chunk = data[start : start + files.CHUNK_BYTES]
                    digest.update(chunk)
                    size += len(chunk)
                    while chunk:
                        chunk = chunk[file.write(chunk) :]
    except OSError as error:
        raise unwritable(path.parent.parent, error) from None
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def _header(names: Sequence[str], tensors: Mapping[str, Tensor]) -> memoryview:
    """How long the JSON is, and the JSON: type, shape and place of each tensor; padded to 8 bytes."""
    entries, end = {}, 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _bytes_of(tensor: Tensor) -> memoryview:
    """In the order of its indices, whatever its memory format; one tensor at a time is copied for that at most."""
    plain = tensor.detach().cpu().contiguous().flatten()
    return plain.view(torch.uint8).numpy().data


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of the safetensors file at `path`, on the CPU.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
