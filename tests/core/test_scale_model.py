"""The model of a step on n workers: its arithmetic against torch's own count, and its limits."""

import math

import pytest
import torch
from scale_model import (
    Link,
    Worker,
    edsr_crop_flops,
    edsr_parameters,
    fit_compute,
    fit_link,
    predict,
    strong,
)
from torch.utils.flop_counter import FlopCounterMode

from sr_core.models import build

FULL = {"blocks": 32, "features": 256}
LINK = Link(name="a link", bytes_per_s=1e9, latency_s=1e-5)
WORKER = Worker(crop_s=0.01, fixed_s=0.02, gradient_bytes=1e8)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("preset", "shape"), [("full", FULL), ("baseline", {"blocks": 16, "features": 64})])
def test_the_parameters_are_those_of_the_network(preset, shape, scale):
    with torch.device("meta"):
        network = build("edsr", scale=scale, preset=preset, options={})
    assert edsr_parameters(scale=scale, **shape) == sum(each.numel() for each in network.parameters())


def test_edsr_has_the_43_million_parameters_of_the_paper():
    assert edsr_parameters(scale=4, **FULL) == 43_089_923


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_operations_are_those_that_torch_counts(scale):
    network = build("edsr", scale=scale, preset="small", options={"num_blocks": 2, "num_features": 8})
    with FlopCounterMode(display=False) as counted:
        network(torch.rand(1, 3, 12, 12)).sum().backward()
    assert edsr_crop_flops(12, blocks=2, features=8, scale=scale) == counted.get_total_flops()


def test_operations_grow_with_the_crops_area():
    small, large = (edsr_crop_flops(side, scale=4, **FULL) for side in (24, 48))
    assert large == 4 * small
    assert large == pytest.approx(695e9, rel=0.01)


def test_one_worker_reduces_nothing():
    step = predict(WORKER, LINK, num=1, crops=16)
    assert (step.all_reduce_s, step.seconds) == (0.0, pytest.approx(0.18))


def test_a_ring_sends_everything_twice_in_the_limit():
    assert LINK.all_reduce_s(1e8, 2) == pytest.approx(0.1 + 2e-5)
    assert LINK.all_reduce_s(1e8, 512) == pytest.approx(2 * 511 / 512 * 0.1 + 2 * 511 * 1e-5)


def test_a_batch_that_is_too_small_for_the_workers_is_no_step():
    assert strong(WORKER, LINK, num=17, batch=16) is None
    assert strong(WORKER, LINK, num=16, batch=16).crops == 1
    assert strong(WORKER, LINK, num=3, batch=16).crops == 6  # the slowest's


def test_only_what_the_loader_cannot_hide_counts():
    slow = Worker(crop_s=0.01, fixed_s=0.0, gradient_bytes=0.0, loader_crop_s=0.03)
    link = Link(name="", bytes_per_s=math.inf, latency_s=0.0)
    assert predict(slow, link, num=2, crops=4).loader_s == pytest.approx(0.08)
    two = Worker(crop_s=0.01, fixed_s=0.0, gradient_bytes=0.0, loader_crop_s=0.03, loader_threads=4)
    assert predict(two, link, num=2, crops=4).loader_s == 0.0


def test_a_write_that_takes_longer_than_the_steps_between_two_saves_is_waited_for():
    def made(write_s):
        return Worker(crop_s=0.1, fixed_s=0.0, gradient_bytes=0.0, snapshot_s=0.5, write_s=write_s, checkpoint_every=10)

    assert predict(made(0.9), LINK, num=1, crops=1).checkpoint_s == pytest.approx(0.05)
    assert predict(made(2.0), LINK, num=1, crops=1).checkpoint_s == pytest.approx(0.15)


def test_a_fit_finds_the_link_and_the_worker_that_made_the_figures():
    times = [(size, LINK.all_reduce_s(size, 2)) for size in (4e3, 1e6, 1.7e8)]
    fitted = fit_link("fitted", times, 2)
    assert (fitted.bytes_per_s, fitted.latency_s) == (pytest.approx(1e9), pytest.approx(1e-5))
    assert fit_compute([(4, 0.06), (16, 0.18)]) == (pytest.approx(0.01), pytest.approx(0.02))


def test_a_fit_takes_no_time_below_nothing():
    assert fit_compute([(1, 0.1), (2, 0.3)])[1] == 0.0
