"""A run that other numbers of ranks go on with, 2 -> 1 -> 2 -> 3: the same samples, the same losses, the same count.

On the way rank 1 of 2 meets NaN, which is left out, and in the end rank 2 of 3, which is one too many.
"""

import copy
import hashlib
import itertools
import json
import math
import subprocess
import sys

import pytest
import torch
from launched import ROOT, fresh_run, run_dir

from sr_core import config
from sr_core.data.patches import augment, open_dataset
from sr_core.train import checkpoint, loop, metrics_log, step
from sr_core.train.state import fresh
from sr_core.world import World

WORLDS = {3: 2, 6: 1, 9: 2, 12: 3}  # the last step of each launch, and its ranks
POISONED = {2: (1, 2), 11: (2, 3)}  # step: rank, of how many
OVERRIDES = ["train.steps=12", "train.batch=16", "train.crop=12", "train.log_every=1", "train.eval_every=12"]
OVERRIDES += ["train.eval_images=1", "train.checkpoint_every=12", "train.num_threads=1", "train.precision=float32"]
OVERRIDES += ["model.options={num_blocks: 1, num_features: 8}", "train.max_skipped=1", "train.loader_threads=2"]
SCRIPT = f"""
import hashlib, json, math, sys
import torch
from sr_core.__main__ import main
from sr_core.train import step

LAST, SEEN, POISONED = int(sys.argv.pop(1)), sys.argv.pop(1), {POISONED}
own, backward = step.Step.__call__, step.RegressionStep._backward

def called(self, batch, *, stop=False):
    crops = [hashlib.sha256(lr.numpy().tobytes() + hr.numpy().tobytes() + bytes([turn])).hexdigest()
             for lr, hr, turn in zip(batch.lr, batch.hr, batch.symmetry)]
    at = self._state.step + 1
    with open(f"{{SEEN}}-{{at}}-{{self._world.rank}}.json", "w") as file:
        json.dump(crops, file)
    own(self, batch, stop=at == LAST)
    if self._world.rank == 0:
        torch.save(self.gradients.gradients, f"{{SEEN}}-{{at}}.pt")

def poisoned(self, lr, hr, *, stop):
    if POISONED.get(self._state.step + 1) == (self._world.rank, self._world.size):
        lr = lr * math.nan
    backward(self, lr, hr, stop=stop)

step.Step.__call__, step.RegressionStep._backward = called, poisoned
sys.exit(main())
"""

pytestmark = pytest.mark.timeout(240)


def test_other_numbers_of_ranks_go_on_with_the_same_samples(shards, tmp_path, monkeypatch):
    root, arguments = fresh_run(shards, tmp_path, OVERRIDES)
    script = tmp_path / "recorded.py"
    script.write_text(SCRIPT)
    said = ""
    for last, size in WORLDS.items():
        ranks = [] if size == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
        command = [sys.executable, *ranks, script, str(last), tmp_path / "seen", "train", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        said += done.stdout
        assert done.returncode != 0
        assert last == 12 or f"stopped at step {last}, checkpoint written" in done.stdout, done.stderr
    assert "step 2: loss or gradient is NaN or infinite on rank 1; the step was left out, 1 of at most 1" in said
    one_too_many = "step 11: loss or gradient is NaN or infinite on rank 2, expected finite numbers after 1 steps"
    assert one_too_many in done.stderr
    manifest = checkpoint.newest(run_dir(root) / "checkpoints").manifest
    assert (manifest.step, manifest.skipped, manifest.world_size) == (9, 1, 2)

    params = config.load(ROOT / "params.yaml", [*OVERRIDES, f"data.root={root}"])
    dataset = open_dataset(params.data, verify=False)
    for number, size in enumerate([2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3], start=1):
        seen = [json.loads((tmp_path / f"seen-{number}-{rank}.json").read_text()) for rank in range(size)]
        assert list(itertools.chain(*seen)) == samples_of(dataset.train, params, number)
        assert max(map(len, seen)) - min(map(len, seen)) == (1 if size == 3 else 0)
    for number in (7, 10):  # of 2 and of 3 ranks, after a checkpoint that is still there
        own, exact = gradients_in_one_process(params, dataset.train, run_dir(root), number)
        found = torch.load(tmp_path / f"seen-{number}.pt", weights_only=True)
        assert error(found, exact) <= max(1e-6, 2 * error(own, exact))  # what float32 rounds in one process is 1e-6
    assert losses_of(root)[:9] == pytest.approx(losses_in_one_process(params, dataset, tmp_path, monkeypatch), rel=1e-5)


def samples_of(patches, params, number):
    """What tells each sample of the global batch of step `number`."""
    whole = patches.batch(params.seed, number - 1, 16, range(16), True, crop=12)
    return [
        hashlib.sha256(lr.numpy().tobytes() + hr.numpy().tobytes() + bytes([turn])).hexdigest()
        for lr, hr, turn in zip(whole.lr, whole.hr, whole.symmetry, strict=True)
    ]


def gradients_in_one_process(params, patches, directory, number):
    """Those of the whole batch of step `number` after the checkpoint before it: as the step makes them, and exact."""
    state = fresh(params, World())
    state.restore(checkpoint.load_tensors(directory / "checkpoints" / f"step-{number - 1:08d}"))
    network = copy.deepcopy(state.network).double()
    one = step.RegressionStep(state, params.train, World(), "float32")
    batch = patches.batch(params.seed, number - 1, 16, range(16), True, crop=12)
    one(batch)
    lr, hr = augment(batch)
    torch.nn.functional.l1_loss(network(lr.double()), hr.double()).backward()
    exact = [parameter.grad.as_strided((parameter.numel(),), (1,)) for parameter in network.parameters()]
    return one.gradients.gradients, torch.cat(exact)


def error(gradient, exact):
    return (gradient.double() - exact).norm() / exact.norm()


def losses_of(directory):
    """The loss of each step that was not left out."""
    found = {e.step: e.values["train/loss"] for e in metrics_log.read(run_dir(directory)) if "train/loss" in e.values}
    return [found[number] for number in sorted(found)]


def losses_in_one_process(params, dataset, folder, monkeypatch):
    """The same of one process that left out step 2 as well, up to step 10."""
    own = step.RegressionStep._backward

    def poisoned(self, lr, hr, *, stop):
        own(self, lr * math.nan if self._state.step == 1 else lr, hr, stop=stop or self._state.step == 9)

    monkeypatch.setattr(step.RegressionStep, "_backward", poisoned)
    loop.train(params, World(), folder / "one" / "runs" / "x", dataset=dataset)
    return losses_of(folder / "one")
