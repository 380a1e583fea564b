"""The loop: exact resume, what it writes, what it refuses."""

import json
import math

import pytest
import torch
from training import STEPS, asked_at, digest, go, made, with_train

from sr_core.errors import BusyError, CheckpointError, ConfigError, DivergedError
from sr_core.files import lock_directory
from sr_core.params import TrainParams
from sr_core.train import checkpoint, metrics_log, run, step, weights
from sr_core.train.optim import learning_rate
from sr_core.train.state import fresh
from sr_core.world import World


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """With augmentation, a moving average, a schedule whose milestones lie within the run, and bf16."""
    params, dataset = made(tmp_path_factory.mktemp("data"), precision="bf16")
    train = params.train
    assert train.augment
    assert train.ema_decay > 0
    assert all(0 < milestone < STEPS for milestone in train.lr_milestones)
    return params, dataset


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory):
    """The run directory of an uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole")
    result = go(*job, run_dir)
    assert (result.step, result.stopped) == (STEPS, False)
    return run_dir


def steps_logged(run_dir, key):
    return [event.step for event in metrics_log.read(run_dir) if key in event.values]


def figures(run_dir):
    """The validation PSNR by step."""
    return {
        event.step: event.values["valid/psnr"] for event in metrics_log.read(run_dir) if "valid/psnr" in event.values
    }


@pytest.mark.parametrize("stopped_at", range(1, STEPS + 1))
def test_stopped_after_any_step_it_goes_on_bit_for_bit(job, whole, tmp_path, stopped_at):
    first = go(*job, tmp_path, should_stop=asked_at(stopped_at - 1))
    assert (first.step, first.stopped) == (stopped_at, stopped_at < STEPS)
    assert checkpoint.newest(tmp_path / "checkpoints").manifest.precision == "bf16"
    second = go(*job, tmp_path)
    assert (second.step, second.stopped) == (STEPS, False)
    assert digest(tmp_path) == digest(whole)
    assert figures(tmp_path) == figures(whole)


def test_a_finished_run_is_left_as_it_is(job, whole):
    before = digest(whole), (whole / metrics_log.NAME).read_bytes()
    assert go(*job, whole).step == STEPS
    assert (digest(whole), (whole / metrics_log.NAME).read_bytes()) == before


def test_events_come_when_they_should(whole):
    assert steps_logged(whole, "train/loss") == [3, 6, 9, 12]
    assert steps_logged(whole, "valid/psnr") == [4, 8, 12]
    first = next(metrics_log.read(whole)).values
    expected = {"loss", "gradient_norm", "lr", "step_s", "crops_per_s"}
    assert first.keys() == {f"train/{name}" for name in expected} | {"system/rss_bytes", "system/cpu_cores"}
    assert all(math.isfinite(value) for value in first.values())


def test_events_after_the_checkpoint_are_written_once(job, tmp_path):
    go(*job, tmp_path, should_stop=asked_at(6))
    with (tmp_path / metrics_log.NAME).open("a") as file:
        file.write(json.dumps({"step": 8, "time": 0.0, "values": {"valid/psnr": 1.0}}) + '\nno event\n{"step": 9, "ti')
    go(*job, tmp_path)
    assert steps_logged(tmp_path, "valid/psnr") == [4, 8, 12]


def test_the_learning_rate_is_halved_at_its_milestones():
    params = TrainParams(lr=0.8, lr_milestones=(3, 5), lr_decay=0.5)
    assert [learning_rate(params, at) for at in range(7)] == [0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2]


def test_two_newest_checkpoints_are_kept_and_the_best_model_apart(whole):
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-00000009", "step-00000012"]
    manifest = checkpoint.newest(whole / "checkpoints").manifest
    assert figures(whole)[manifest.best_step] == manifest.best_psnr == max(figures(whole).values())
    loaded = weights.load_model(whole / "best" / f"step-{manifest.best_step:08d}")
    assert (loaded.card.step, loaded.card.valid_psnr) == (manifest.best_step, manifest.best_psnr)


@pytest.mark.parametrize("damage", ["flip", "truncate", "flip manifest", "no manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(job, whole, tmp_path, damage):
    go(*job, tmp_path, should_stop=asked_at(6))  # checkpoints at 6 and 7
    newest = tmp_path / "checkpoints" / "step-00000007"
    state = newest / checkpoint.STATE
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 16
    {
        "flip": lambda: state.write_bytes(data),
        "truncate": lambda: state.write_bytes(data[:-100]),
        "flip manifest": lambda: flip_a_digit(newest / checkpoint.MANIFEST),
        "no manifest": (newest / checkpoint.MANIFEST).unlink,
    }[damage]()
    said = Said()
    go(*job, tmp_path, progress=said)
    assert any("checkpoint not used: " in line and "step-00000007" in line for line in said.lines)
    assert any("goes on from" in line and "step-00000006" in line for line in said.lines)
    assert digest(tmp_path) == digest(whole)


def flip_a_digit(path):
    """One bit of a figure that nothing else depends on."""
    text = path.read_bytes()
    at = text.index(b'"best_psnr": ') + len(b'"best_psnr": ') + 3
    path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])


def test_the_best_weights_of_every_kept_checkpoint_are_kept(job, tmp_path):
    params, dataset = job
    params = with_train(params, eval_every=1, checkpoint_every=4)
    go(params, dataset, tmp_path)
    best = {path.name for path in (tmp_path / "best").iterdir()}
    for path in (tmp_path / "checkpoints").iterdir():
        assert f"step-{json.loads((path / checkpoint.MANIFEST).read_text())['best_step']:08d}" in best


def test_a_damaged_record_of_what_a_run_is_is_named(job, tmp_path):
    go(*job, tmp_path, should_stop=asked_at(1))
    (tmp_path / run.PARAMS).write_text("{")
    with pytest.raises(CheckpointError, match=r"params\.json: is damaged \(JSONDecodeError\)"):
        go(*job, tmp_path)


def test_no_whole_checkpoint_is_an_error_not_a_new_beginning(job, tmp_path):
    go(*job, tmp_path, should_stop=asked_at(1))
    (tmp_path / "checkpoints" / "step-00000002" / checkpoint.STATE).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole .*step-00000002.* delete the run directory"):
        go(*job, tmp_path)


def test_other_parameters_on_a_run_are_refused_by_name(job, tmp_path):
    params, dataset = job
    go(params, dataset, tmp_path, should_stop=asked_at(1))
    with pytest.raises(CheckpointError, match=r"was started with train\.lr 0\.001, now it is 0\.002"):
        go(with_train(params, lr=2e-3), dataset, tmp_path)
    assert go(with_train(params, log_every=5), dataset, tmp_path).step == STEPS


def test_a_held_run_directory_is_refused(job, tmp_path):
    with lock_directory(tmp_path), pytest.raises(BusyError, match="in use by process"):
        go(*job, tmp_path)


def test_nan_ends_the_run_before_the_update(job, tmp_path, monkeypatch):
    def poisoned(sr, hr, _peak):
        loss = torch.nn.functional.l1_loss(sr, hr)
        calls.append(0)
        return loss * math.nan if len(calls) == 8 else loss

    calls = []
    monkeypatch.setitem(step.LOSSES, "l1", poisoned)
    with pytest.raises(DivergedError, match=r"step 8: loss or gradient is NaN or infinite on rank 0.*no update"):
        go(*job, tmp_path)
    assert checkpoint.newest(tmp_path / "checkpoints").manifest.step == 6


def test_a_step_with_nan_changes_no_weight(job, monkeypatch):
    params, dataset = job
    state = fresh(params, World())
    one = step.RegressionStep(state, params.train, World(), "float32")
    batch = dataset.train.batch(1, 0, 4, range(4), True)
    one(batch)
    before = {name: tensor.clone() for name, tensor in state.tensors().items() if not name.startswith("ema/")}
    monkeypatch.setattr(one, "_loss", lambda sr, hr, _peak: sr.mean() * math.inf)
    one(batch)
    after = state.tensors()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_batch_smaller_than_the_world_is_refused(job, tmp_path):
    params, dataset = job
    with pytest.raises(ConfigError, match=r"train\.batch: is 4, expected one crop at least for each of 5 ranks"):
        run_with(params, dataset, tmp_path)


def run_with(params, dataset, run_dir):
    from sr_core.train.loop import train

    return train(params, World(size=5), run_dir, dataset=dataset)


def test_publishing_needs_a_finished_run(job, tmp_path):
    params, dataset = job
    go(params, dataset, tmp_path, should_stop=asked_at(4))
    with pytest.raises(CheckpointError, match=r"is at step 5 of 12; finish it"):
        run.publish(params, tmp_path)
    go(params, dataset, tmp_path)
    card = run.publish(params, tmp_path)
    loaded = weights.load_model(run.model_directory(params))
    assert loaded.card == card
    assert (card.data_digest, card.params_digest, card.run) == (dataset.digest, params.digest(), tmp_path.name)


def test_without_ema_the_trained_weights_are_published(job, tmp_path):
    params, dataset = job
    params = with_train(params, ema_decay=0.0)
    go(params, dataset, tmp_path)
    tensors = checkpoint.load_tensors(checkpoint.newest(tmp_path / "checkpoints").path)
    assert not any(name.startswith("ema/") for name in tensors)


def test_a_checkpoints_names_stay_what_they_were(whole):
    names = checkpoint.load_tensors(checkpoint.newest(whole / "checkpoints").path).keys()
    own = {name.removeprefix("network/") for name in names if name.startswith("network/")}
    assert {"head.weight", "body.0.conv1.bias", "tail.weight"} < own
    slots = {f"adam/{name}/{slot}" for name in own for slot in ("step", "exp_avg", "exp_avg_sq")}
    assert names == {f"network/{name}" for name in own} | {f"ema/{name}" for name in own} | slots


def test_the_moving_average_is_the_formula(job):
    params, dataset = job
    state = fresh(params, World())
    one = step.RegressionStep(state, params.train, World(), "float32")
    expected = [parameter.detach().clone() for parameter in state.network.parameters()]
    for number in range(30):
        one(dataset.train.batch(1, number, 4, range(4), True))
        decay = min(0.9, (1 + number) / (10 + number))
        expected = [
            decay * e + (1 - decay) * p.detach() for e, p in zip(expected, state.network.parameters(), strict=True)
        ]
    for own, other in zip(state.ema.parameters(), expected, strict=True):
        torch.testing.assert_close(own, other)


class Said:
    """A Progress that keeps what is said."""

    def __init__(self):
        self.lines = []

    def start(self, label, total=None):
        pass

    def advance(self, amount=1):
        pass

    def say(self, text):
        self.lines.append(text)
