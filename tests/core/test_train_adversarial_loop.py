"""A run against a discriminator: exact resume of both networks, what it logs, what it publishes."""

import dataclasses
import math

import pytest
import torch
from training import STEPS, asked_at, digest, go, made, made_against, tensors, with_train

from sr_core.errors import CheckpointError, ConfigError, DivergedError
from sr_core.models import check_trainable
from sr_core.params import ModelParams
from sr_core.train import adversarial, checkpoint, loop, metrics_log, run
from sr_core.train.loop import describe
from sr_core.train.state import fresh
from sr_core.train.weights import load_model
from sr_core.world import World

MODELS = {"edsr": {"num_blocks": 1, "num_features": 8}, "srgan": {"num_blocks": 1, "num_features": 8}}


@pytest.fixture(scope="module", params=[("edsr", "vanilla"), ("srgan", "relativistic")], ids="-".join)
def job(request, tmp_path_factory):
    """Without and with batch normalisation in what enlarges; the discriminator has it."""
    name, loss = request.param
    params, dataset = made_against(tmp_path_factory.mktemp("data"), loss)
    model = ModelParams(name=name, preset="small", options=MODELS[name])
    return dataclasses.replace(params, model=model), dataset


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory):
    """The run directory of an uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole")
    assert go(*job, run_dir).step == STEPS
    return run_dir


STOPS = [pytest.param(step, marks=() if step in (1, 5, 11) else pytest.mark.slow) for step in range(1, STEPS)]


@pytest.mark.parametrize("stopped_at", STOPS)
def test_stopped_after_any_step_it_goes_on_bit_for_bit(job, whole, tmp_path, stopped_at):
    first = go(*job, tmp_path, should_stop=asked_at(stopped_at - 1))
    assert (first.step, first.stopped) == (stopped_at, True)
    assert go(*job, tmp_path).step == STEPS
    assert digest(tmp_path) == digest(whole)


def test_a_checkpoint_holds_both_networks_and_both_optimizers(job, whole):
    prefixes = {"network", "ema", "adam", "discriminator", "adam_discriminator"}
    found = tensors(whole)
    assert {name.partition("/")[0] for name in found} == prefixes
    state = fresh(job[0], World())
    assert state.tensors().keys() == found.keys()
    assert any(name.startswith("discriminator/") and name.endswith("running_var") for name in found)


def test_a_resume_gives_each_network_its_own_weights(job, whole):
    found = tensors(whole)
    state = fresh(job[0], World())
    state.restore(found)
    for name, own in (("network", state.network), ("ema", state.ema), ("discriminator", state.discriminator)):
        for key, tensor in own.state_dict().items():
            assert torch.equal(tensor, found[f"{name}/{key}"])
    untrained = fresh(job[0], World())
    for own, other in zip(state.trained, untrained.trained, strict=True):
        assert not any(torch.equal(a, b) for a, b in zip(own.parameters(), other.parameters(), strict=True))


def test_the_moving_average_takes_over_running_statistics(job, whole):
    found = tensors(whole)
    own = [name for name in found if name.startswith("network/") and ("running" in name or "num_batches" in name)]
    assert all(torch.equal(found[name], found[name.replace("network/", "ema/")]) for name in own)
    assert bool(own) is (job[0].model.name == "srgan")


def test_a_checkpoint_without_a_discriminator_is_refused(job, tmp_path):
    params, _ = job
    alone = fresh(with_adversarial(params, loss="none"), World()).tensors()
    with pytest.raises(CheckpointError, match=r"checkpoint: discriminator/\S+ is absent, expected shape"):
        fresh(params, World()).restore(dict(alone))


def with_adversarial(params, **fields):
    return dataclasses.replace(params, adversarial=dataclasses.replace(params.adversarial, **fields))


def test_the_log_has_every_term(whole):
    events = [event.values for event in metrics_log.read(whole) if "train/loss" in event.values]
    names = ("content", "generator", "discriminator", "accuracy", "gradient_norm")
    assert len(events) == 4
    for values in events:
        assert {f"adversarial/{name}" for name in names} <= values.keys()
        assert values["adversarial/gradient_norm"] > 0
        assert 0 <= values["adversarial/accuracy"] <= 1
        total = values["adversarial/content"] + 1e-3 * values["adversarial/generator"]
        assert values["train/loss"] == pytest.approx(total, rel=1e-5)


def test_the_line_for_people_says_how_often_the_discriminator_is_right(whole):
    event = next(metrics_log.read(whole))
    percent = 100 * event.values["adversarial/accuracy"]
    assert f"discriminator right in {percent:.0f} %" in describe(event, STEPS)


def test_the_last_weights_are_published_whatever_their_psnr(job, tmp_path, monkeypatch):
    params, dataset = job
    worse_and_worse = iter(range(99, 0, -1))
    monkeypatch.setattr(loop, "psnr", lambda *_images, **_protocol: next(worse_and_worse))
    go(params, dataset, tmp_path)
    manifest = checkpoint.newest(tmp_path / "checkpoints").manifest
    figures = [event.values["valid/psnr"] for event in metrics_log.read(tmp_path) if "valid/psnr" in event.values]
    assert manifest.best_step == STEPS
    assert manifest.best_psnr == figures[-1] < max(figures)
    card = run.publish(params, tmp_path)
    assert card.step == STEPS
    published = load_model(run.model_directory(params)).network.state_dict()
    last = tensors(tmp_path)
    assert all(torch.equal(tensor, last[f"ema/{name}"]) for name, tensor in published.items())


def test_nan_of_the_discriminator_ends_the_run_before_the_update(job, tmp_path, monkeypatch):
    params, dataset = job
    own, calls = adversarial.judge, []

    def poisoned(kind, real, fake):
        calls.append(0)
        judged = own(kind, real, fake)
        return dataclasses.replace(judged, to_real=judged.to_real * math.nan) if len(calls) == 8 else judged

    monkeypatch.setattr(adversarial, "judge", poisoned)
    with pytest.raises(DivergedError, match=r"step 8: loss or gradient is NaN or infinite on rank 0.*no update"):
        go(params, dataset, tmp_path)
    assert checkpoint.newest(tmp_path / "checkpoints").manifest.step == 6


def test_crops_too_small_for_the_discriminator_are_refused(job, tmp_path):
    params, dataset = job
    small = with_train(params, crop=15)
    message = r"train\.crop: HR crops of 30 pixels are too small for the discriminator, expected at least 32"
    with pytest.raises(ConfigError, match=message):
        check_trainable(small)
    with pytest.raises(ConfigError, match=message):
        go(small, dataset, tmp_path)


def test_accumulating_changes_no_more_than_rounding(tmp_path):
    """Of what has no batch normalisation, whose statistics are those of a part."""
    params, dataset = made(tmp_path / "data", ema_decay=0.0, steps=2, precision="float32")
    found = []
    for accumulate in (1, 3):
        go(with_train(params, accumulate=accumulate), dataset, tmp_path / f"{accumulate}")
        found.append(tensors(tmp_path / f"{accumulate}"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-4, atol=1e-7)
