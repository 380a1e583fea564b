"""Every defect that was seen in public implementations of these networks, one test for each.

In the order of the list that they are known from: adversarial training, accumulation and averages, resuming, building
patches, tiling, sampling.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from adversaries import BATCH, SIDE, crops, features, gradients_of, params_of, state_of, step_of
from photos import SCALE, noise, params_for, write_folder
from torch import nn
from training import STEPS, go, made, made_against, tensors, with_train

from sr_core.data import shards
from sr_core.data.order import draw
from sr_core.data.patches import open_dataset
from sr_core.errors import ImageError, ShardError
from sr_core.models import build
from sr_core.progress import QUIET
from sr_core.train import metrics_log
from sr_core.train.optim import learning_rate
from sr_core.upscale import upscale, upscale_float

KINDS = ("vanilla", "relativistic")


# The discriminator runs under no-grad in the generator's step, so the generator gets no adversarial gradient.


@pytest.mark.parametrize("kind", KINDS)
def test_the_adversarial_gradient_reaches_the_generator(kind):
    params = params_of(kind, content_weight=0.0, pixel_weight=0.0)
    state, before = state_of(params), state_of(params)
    step = step_of(state, params)
    step(crops())
    assert step.gradients.of(0).norm() > 0
    assert step.values["adversarial/gradient_norm"] > 0
    pairs = zip(state.network.parameters(), before.network.parameters(), strict=True)
    assert all(not torch.equal(own, other) for own, other in pairs)


# The content loss is rebuilt with torch.tensor(...), so it carries no gradient.


def test_the_content_loss_carries_its_gradient():
    with_content, without = (
        gradients_of(params_of("vanilla", content_weight=weight, pixel_weight=0.0))[0][0] for weight in (1.0, 0.0)
    )
    state, batch, see = state_of(params_of("vanilla")), crops(), features()
    distance = (see(state.network(batch.lr.float()) / 255) - see(batch.hr.float() / 255)).square().mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(distance, list(state.network.parameters()))]).norm()
    assert expected > 0
    torch.testing.assert_close((with_content - without).norm(), expected, rtol=1e-4, atol=0)


# Gradient accumulation counts twice.


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_accumulating_gives_the_gradient_and_the_updates_of_the_whole_batch(kind):
    (whole, _, _), (parts, _, _) = (gradients_of(params_of(kind, accumulate=number)) for number in (1, BATCH))
    for own, expected in zip(parts, whole, strict=True):
        assert (own - expected).norm() <= 1e-6 * expected.norm()
    state = state_of(params_of(kind, accumulate=BATCH))
    step = step_of(state, params_of(kind, accumulate=BATCH))
    for _ in range(2):
        step(crops())
    assert state.step == 2
    for optimizer in state.optimizers:
        assert {float(slots["step"]) for slots in optimizer.state.values()} == {2.0}


# EMA weights are swapped (0.001 instead of 0.999).


def test_the_moving_average_keeps_its_past():
    params = params_of()
    state = state_of(params)
    edsr = build("edsr", scale=SCALE, preset="small", options={"num_blocks": 1, "num_features": 8})
    state.ema = edsr.requires_grad_(False)
    with torch.no_grad():
        for own, other in zip(state.ema.parameters(), state.network.parameters(), strict=True):
            own.fill_(0.0)
            other.fill_(1.0)
    state.step = 1_000_000  # long after the average has warmed up
    state.update_ema(0.999)
    for own in state.ema.parameters():
        torch.testing.assert_close(own, torch.full_like(own, 0.001))


# Resume forgets the scheduler, re-decays the learning rate, re-reads all data up to the step, or overwrites G with D.


class Recorded:
    """Training patches that remember which steps they were asked for."""

    def __init__(self, patches):
        self.patches, self.steps = patches, []

    def batch(self, seed, step, *others, **more):
        self.steps.append(step)
        return self.patches.batch(seed, step, *others, **more)


def rates_of(run_dir):
    return {event.step: event.values["train/lr"] for event in metrics_log.read(run_dir) if "train/lr" in event.values}


def test_a_resume_has_the_learning_rate_of_its_step_and_reads_what_is_left(tmp_path):
    params, dataset = made(tmp_path / "data", log_every=1)
    go(params, dataset, tmp_path / "whole")
    calls = itertools.count()
    stopped = go(params, dataset, tmp_path / "run", should_stop=lambda: next(calls) >= 6)
    assert stopped.step == 7  # after the first milestone, before the second
    recorded = Recorded(dataset.train)
    go(params, dataclasses.replace(dataset, train=recorded), tmp_path / "run")
    assert recorded.steps == list(range(7, STEPS))
    expected = {step: learning_rate(params.train, step - 1) for step in range(1, STEPS + 1)}
    assert rates_of(tmp_path / "run") == rates_of(tmp_path / "whole") == expected
    assert len(set(expected.values())) == 3


def test_a_resume_gives_generator_and_discriminator_their_own(tmp_path):
    params, dataset = made_against(tmp_path / "data")
    params = with_train(params, ema_decay=0.0, lr=1e-12)  # from a resume on, hardly anything changes
    calls = itertools.count()
    go(params, dataset, tmp_path / "run", should_stop=lambda: next(calls) >= 3)
    before = tensors(tmp_path / "run")
    go(params, dataset, tmp_path / "run")
    after = tensors(tmp_path / "run")
    assert before.keys() == after.keys()
    networks = [name for name in before if name.startswith(("network/", "discriminator/")) and "running" not in name]
    assert len({name.partition("/")[0] for name in networks}) == 2
    for name in networks:
        if "num_batches" not in name:
            torch.testing.assert_close(after[name], before[name])


# Worker exceptions of the patch tool are lost, and a partial set looks complete.


@pytest.mark.parametrize("num_writers", [1, 2])
def test_a_photograph_that_cannot_be_read_ends_the_build_and_leaves_no_set(tmp_path, num_writers):
    folder = write_folder(tmp_path / "photos", [(40, 48), (48, 56), (56, 40), (60, 44)])
    params = params_for(tmp_path / "data", folder, num_writers=num_writers)
    data = bytearray((folder / "01.png").read_bytes())
    data[len(data) // 2] ^= 255
    (folder / "01.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"01\.png"):
        shards.build(params, progress=QUIET)
    with pytest.raises(ShardError, match=r"run `python -m sr_core shard`"):
        open_dataset(params, verify=True)


# Tiled inference leaves black or visible seams; after an out-of-memory error the previous tile is pasted again.


def far_seeing():
    """An untrained network whose far neighbours matter."""
    torch.manual_seed(0)
    network = build("edsr", scale=SCALE, preset="small", options={"num_blocks": 2, "num_features": 8})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.5 if parameter.dim() == 4 else 1.0)
    return network.eval()


def test_tiles_leave_no_seams():
    network, image = far_seeing(), noise(50, 37)
    whole, tiled = (upscale_float(network, image, precision="float32", tile=tile) for tile in (64, 16))
    assert np.abs(whole - tiled).max() <= 1e-4 * 255
    assert (tiled.any(axis=2)).all()


class Hungry(nn.Module):
    """Repeats pixels, and runs out of memory on large windows once it has done some."""

    scale, receptive_field = 2, 0

    def __init__(self):
        super().__init__()
        self.done = 0

    def forward(self, x):
        self.done += 1
        if self.done > 3 and x.shape[-1] > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)


def test_after_memory_ran_out_every_tile_is_its_own():
    image = noise(96, 96)
    assert (upscale(Hungry(), image, tile=32) == image.repeat(2, 0).repeat(2, 1)).all()


# Worker seeds ignore the epoch, so every epoch repeats the same crops.


def test_no_two_epochs_have_the_same_crops():
    num_patches, batch = 24, 8
    epochs = []
    for epoch in range(3):
        steps = range(epoch * num_patches // batch, (epoch + 1) * num_patches // batch)
        drawn = [
            draw(seed=1, step=step, batch=batch, num_patches=num_patches, positions=SIDE, augment=True)
            for step in steps
        ]
        patches, tops, lefts, turns = (
            np.concatenate([getattr(each, name) for each in drawn]) for name in ("patch", "top", "left", "symmetry")
        )
        assert sorted(patches) == list(range(num_patches))
        epochs.append(dict(zip(patches, zip(tops, lefts, turns, strict=True), strict=True)))
    for one, other in itertools.combinations(epochs, 2):
        assert sum(one[patch] == other[patch] for patch in range(num_patches)) <= 2  # by chance: 1 in 512 each
        assert list(one) != list(other)
