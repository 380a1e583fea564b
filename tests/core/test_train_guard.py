"""Steps with NaN or infinity: left out without a trace, counted across launches, and too many of them end training."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from training import STEPS, asked_at, digest, go, made, made_against, with_train

from sr_core.errors import DivergedError
from sr_core.files import digest_of, to_json
from sr_core.train import checkpoint, losses, metrics_log, step
from sr_core.train.adversarial import AdversarialStep
from sr_core.train.guard import Guard
from sr_core.train.state import fresh
from sr_core.train.window import Window
from sr_core.world import World


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return made(tmp_path_factory.mktemp("data"))


@pytest.fixture
def poison(monkeypatch):
    """Makes the loss NaN in the steps it is given, whichever launch they are in."""
    bad, own = set(), step.RegressionStep._backward

    def backward(self, lr, hr, *, stop):
        self._loss = losses.LOSSES["l1"]
        if self._state.step + 1 in bad:
            self._loss = lambda sr, hr, _peak: sr.mean() * math.nan
        own(self, lr, hr, stop=stop)

    monkeypatch.setattr(step.RegressionStep, "_backward", backward)
    return bad.update


class Said:
    def __init__(self):
        self.lines = []

    def start(self, label, total=None):
        pass

    def advance(self, amount=1):
        pass

    def say(self, text):
        self.lines.append(text)


def test_what_is_left_out_is_said_and_counted_and_spoils_no_mean(job, tmp_path, poison):
    params, dataset = job
    poison({4, 5, 8})
    said = Said()
    assert go(with_train(params, max_skipped=3, log_every=2), dataset, tmp_path, progress=said).step == STEPS
    lines = [line for line in said.lines if "left out" in line]
    assert lines[1] == (
        "step 5: loss or gradient is NaN or infinite on rank 0; the step was left out, "
        "2 of at most 3 (train.max_skipped)"
    )
    assert len(lines) == 3
    events = [event for event in metrics_log.read(tmp_path) if "train/lr" in event.values]
    assert [event.values["train/skipped"] for event in events] == [0, 1, 2, 3, 3, 3]
    assert all(math.isfinite(value) for event in events for value in event.values.values())
    assert checkpoint.newest(tmp_path / "checkpoints").manifest.skipped == 3


def test_a_window_of_nothing_but_skipped_steps_has_no_loss(job, tmp_path, poison):
    params, dataset = job
    poison({4, 5, 6})
    go(with_train(params, max_skipped=3), dataset, tmp_path)
    logged = {event.step: event.values for event in metrics_log.read(tmp_path) if "train/lr" in event.values}
    assert "train/loss" not in logged[6]
    assert "train/loss" in logged[3]


def test_one_too_many_ends_training(job, tmp_path, poison):
    params, dataset = job
    poison({2, 5, 8})
    with pytest.raises(
        DivergedError,
        match=r"step 8: .* on rank 0, expected finite numbers after 2 steps that were left out; .*train\.max_skipped",
    ):
        go(with_train(params, max_skipped=2), dataset, tmp_path)
    assert checkpoint.newest(tmp_path / "checkpoints").manifest.step == 6
    # more of them may be left out from now on: the run goes on
    assert go(with_train(params, max_skipped=3), dataset, tmp_path).step == STEPS


def test_a_resume_neither_forgets_the_count_nor_changes_a_bit(job, tmp_path, poison):
    params, dataset = job
    poison({3, 9})
    params = with_train(params, max_skipped=2)
    go(params, dataset, tmp_path / "whole")
    go(params, dataset, tmp_path / "stopped", should_stop=asked_at(5))
    with pytest.raises(DivergedError, match=r"step 9: .* after 1 steps that were left out"):
        go(with_train(params, max_skipped=1), dataset, tmp_path / "stopped")
    go(params, dataset, tmp_path / "stopped")
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["regression", "adversarial"])
def test_a_step_that_is_left_out_leaves_every_tensor_as_it_was(kind, job, tmp_path):
    params, dataset = job if kind == "regression" else made_against(tmp_path)  # its discriminator has statistics
    params = with_train(params, max_skipped=2)
    state = fresh(params, World())
    one = (
        step.RegressionStep(state, params.train, World(), "float32")
        if kind == "regression"
        else AdversarialStep(state, params, World(), "float32", torch.nn.Identity())
    )
    batch = dataset.train.batch(1, 0, 4, range(4), True)
    for _ in range(2):
        one(batch)
    # of the last but one nobody looks in time: no update is made any more, also where all is well
    for number, is_bad in ((1, True), (2, True), (3, True), (3, False)):
        before = {name: tensor.clone() for name, tensor in state.tensors().items()}
        factor = math.nan if is_bad else 1.0
        one._weight = lambda num, factor=factor: num / 4 * factor
        one(batch)
        assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors().items())
        assert (int(state.skipped), bool(one.left_out)) == (number, True)
    with pytest.raises(DivergedError, match=r"step 5: .* after 2 steps"):
        one.guard.look()


def test_on_a_device_the_host_need_not_know_what_is_left_out():
    """Tensors on `meta` hold no values: whatever waited for one would fail."""
    world = World(device=torch.device("meta"))
    guard = Guard(world, most=1, count=torch.zeros((), dtype=torch.int64, device="meta"))
    guard._seen = 0  # read once, when training starts
    one = torch.zeros((), device="meta")
    left_out = guard.check(1, torch.zeros(1, device="meta"), one)
    assert (left_out.device.type, left_out.dtype) == ("meta", torch.bool)
    step_like = SimpleNamespace(gradients=SimpleNamespace(loss=one), values={}, gradient_norm=one, left_out=left_out)
    Window(world).add(step_like)


def test_checkpoints_from_before_steps_were_counted_are_read(job, tmp_path):
    params, dataset = job
    go(params, dataset, tmp_path, should_stop=asked_at(4))
    path = checkpoint.newest(tmp_path / "checkpoints").path / checkpoint.MANIFEST
    values = json.loads(path.read_text())
    del values["skipped"], values[checkpoint.DIGEST]
    path.write_text(to_json({**values, checkpoint.DIGEST: digest_of(values)}))
    assert checkpoint.newest(tmp_path / "checkpoints").manifest.skipped == 0
    assert go(params, dataset, tmp_path).step == STEPS


@pytest.mark.parametrize("threads", [0, 2, 4])
def test_threads_that_make_batches_change_no_bit(job, tmp_path, threads):
    params, dataset = job
    go(params, dataset, tmp_path / "one")
    go(with_train(params, loader_threads=threads), dataset, tmp_path / "other")
    assert digest(tmp_path / "other") == digest(tmp_path / "one")
