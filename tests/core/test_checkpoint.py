"""A checkpoint's files: the format, what damage is seen, what a full disk leaves, what a SIGKILL leaves."""

import dataclasses
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sr_core import files
from sr_core.errors import CheckpointError
from sr_core.train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
TYPES = [*checkpoint._TYPES]


def manifest_of(step, **others):
    fields = {"precision": "bf16", "num_threads": 1, "world_size": 1, "torch_version": "2", "best_psnr": 28.5}
    return checkpoint.Manifest(step=step, **(fields | {"best_step": 3} | others))


def state_of(step):
    torch.manual_seed(step)
    weights = torch.randn(8, 3, 3, 3).to(memory_format=torch.channels_last)
    return {"network/weight": weights, "adam/weight/exp_avg": weights**2, "adam/weight/step": torch.tensor(float(step))}


def saved(directory, *steps, keep=2):
    for step in steps:
        checkpoint.save(directory, state_of(step), manifest_of(step), keep=keep)
    return directory


def holds(path, step):
    tensors, expected = checkpoint.load_tensors(path), state_of(step)
    return tensors.keys() == expected.keys() and all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_the_file_is_byte_for_byte_what_safetensors_writes(tmp_path):
    tensors = {f"a {dtype}": torch.arange(7).to(dtype) for dtype in reversed(TYPES)}
    tensors |= {'"ü\n/weight': torch.randn(4, 3, 3, 3), "scalar": torch.tensor(2.0), "empty": torch.zeros(0, 3)}
    tensors["larger than a chunk"] = torch.randn(3, files.CHUNK_BYTES)
    turned = {name: tensor.transpose(0, -1) if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
    record = checkpoint.write_tensors(tmp_path / "own", turned)
    plain = {name: tensor.contiguous() for name, tensor in turned.items()}
    assert (tmp_path / "own").read_bytes() == safetensors.torch.save(plain)
    assert record == files.record_of(tmp_path / "own")


def test_a_type_that_the_format_lacks_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="complex128"):
        checkpoint.write_tensors(tmp_path / "own", {"a": torch.zeros(2, dtype=torch.complex128)})


def test_a_checkpoint_of_before_is_read(tmp_path):
    """What was written by the safetensors library, with a manifest of fewer fields."""
    path = tmp_path / "step-00000003"
    path.mkdir()
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state_of(3).items()}, path / "a")
    (path / "a").rename(path / checkpoint.STATE)
    whole = dataclasses.asdict(manifest_of(3, files={checkpoint.STATE: files.record_of(path / checkpoint.STATE)}))
    whole.pop("skipped", None)
    text = files.to_json({**whole, checkpoint.DIGEST: files.digest_of(whole)})
    (path / checkpoint.MANIFEST).write_text(text)
    found = checkpoint.newest(tmp_path)
    assert (found.manifest.step, found.rejected) == (3, ())
    assert holds(found.path, 3)


def is_seen(directory, damage):
    """Whether the newest of two checkpoints, for a moment damaged in one of its files, is named and the other used."""
    path = chosen.choice(sorted((directory / "step-00000006").iterdir()))
    data = path.read_bytes()
    path.write_bytes(damage(data))
    found = checkpoint.newest(directory)
    path.write_bytes(data)
    return found.manifest.step == 3 and "step-00000006" in found.rejected[0] and holds(found.path, 3)


chosen = random.Random(5)


def flipped(data):
    at = chosen.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chosen.randrange(8)]) + data[at + 1 :]


def cut(data):
    return data[: chosen.randrange(len(data))]


def test_every_flipped_bit_and_every_lost_end_is_seen(tmp_path):
    saved(tmp_path, 3, 6)
    damages = [flipped] * 300 + [cut] * 50
    seen = sum(is_seen(tmp_path, damage) for damage in damages)
    assert checkpoint.newest(tmp_path).manifest.step == 6
    print(f"damage_detected: {seen}/{len(damages)}")
    assert seen == len(damages) == 350


@pytest.mark.parametrize("change", [("\n", "\r"), ("  ", "\t "), ('": ', '" :'), ("}\n", "}"), ("28.5", "28.50")])
def test_a_manifest_that_says_the_same_in_other_bytes_is_damaged(tmp_path, change):
    path = saved(tmp_path, 3) / "step-00000003" / checkpoint.MANIFEST
    text = path.read_text()
    path.write_bytes(text.replace(*change, 1).encode())
    assert path.read_bytes() != text.encode()
    with pytest.raises(CheckpointError, match="does not match its own sha256"):
        checkpoint.newest(tmp_path)


def test_damaged_ones_do_not_count_among_the_kept(tmp_path):
    saved(tmp_path, 3, 6, 9, keep=3)
    checkpoint.discard_after(tmp_path, 3)
    saved(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


@pytest.fixture
def small_files():
    """No file of this process may grow above 1 MiB: the kernel's error for that comes where a full disk's would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_room_the_place_is_named_and_the_one_before_stays(tmp_path, small_files):
    saved(tmp_path, 3)
    sentence = f"{re.escape(str(tmp_path))}: cannot be written to .File too large.; free space and go on"
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.save(tmp_path, {"a": torch.zeros(1 << 19)}, manifest_of(6), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
    assert holds(checkpoint.newest(tmp_path).path, 3)


def test_kills_at_random_moments_leave_a_valid_latest(tmp_path):
    command = [sys.executable, "benchmarks/torn_saves.py", "--kills", "10", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "valid_latest_after_kills: 10/10", done.stdout
