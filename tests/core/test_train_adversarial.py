"""The step against a discriminator: its gradients are those of the formulas, on any number of ranks and parts."""

import dataclasses
import math

import pytest
import torch
from adversaries import BATCH, analytic, crops, gradients_of, on_ranks, params_of, state_of, step_of

from sr_core.train import batch_norm
from sr_core.train.losses import generator_loss, judge
from sr_core.world import World

KINDS = ("none", "vanilla", "relativistic")


def close(own, expected, tolerance=1e-6):
    return bool((own - expected).norm() <= tolerance * expected.norm()) and bool(expected.norm() > 0)


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory):
    """What each of two ranks, with 2 and 3 crops, has after a step, by the parameters of the job."""
    keys = [(kind, accumulate, False) for kind in KINDS for accumulate in (1, 2)]
    keys += [(kind, accumulate, True) for kind in KINDS[1:] for accumulate in (1, 2)]
    jobs = [(params_of(kind, accumulate=accumulate), normalised) for kind, accumulate, normalised in keys]
    ranks = on_ranks(jobs, tmp_path_factory.mktemp("ranks"))
    return {key: [rank[i] for rank in ranks] for i, key in enumerate(keys)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulate", [1, 3, 5])
def test_the_gradients_are_those_of_the_formulas(kind, accumulate):
    params = params_of(kind, accumulate=accumulate)
    gradients, _, _ = gradients_of(params)
    for own, expected in zip(gradients, analytic(params), strict=True):
        assert close(own, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_with_uneven_shares_have_the_global_batchs_gradients(on_two_ranks, kind, accumulate):
    alone, values, _ = gradients_of(params_of(kind))
    for gradients, others, _ in on_two_ranks[kind, accumulate, False]:
        assert all(close(own, expected) for own, expected in zip(gradients, alone, strict=True))
        torch.testing.assert_close(others, values, rtol=2e-6, atol=0)
    (one, _, _), (other, _, _) = on_two_ranks[kind, accumulate, False]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_discriminator_gets_no_gradient_from_the_generators_loss(kind):
    found = [gradients_of(params_of(kind, weight=weight))[0] for weight in (0.1, 1e6)]
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].any()
    assert not torch.equal(found[0][0], found[1][0])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_generator_gets_its_adversarial_gradient(kind):
    params = params_of(kind, content_weight=0.0, pixel_weight=0.0)
    state, batch = state_of(params), crops()
    step = step_of(state, params)
    step(batch)
    state = state_of(params)  # of before the step
    images = (state.network(batch.lr.float()) / 255).detach().requires_grad_()
    logits = (state.discriminator(each).flatten() for each in (batch.hr.float() / 255, images))
    (expected,) = torch.autograd.grad(params.adversarial.weight * generator_loss(kind, *logits), images)
    assert step.gradients.of(0).norm() > 0
    torch.testing.assert_close(step.values["adversarial/gradient_norm"], expected.norm())


def test_what_is_logged_are_the_terms_and_their_weighted_sum():
    params = params_of("vanilla")
    state = state_of(params)
    step = step_of(state, params)
    step(crops())
    values = step.values
    names = ("content", "pixel", "generator", "discriminator", "accuracy", "gradient_norm")
    assert set(values) == {f"adversarial/{name}" for name in names}
    terms = ("content", 0.5), ("pixel", 0.3), ("generator", 0.1)
    total = sum(weight * values[f"adversarial/{name}"] for name, weight in terms)
    torch.testing.assert_close(step.gradients.loss, total)


def test_a_term_that_is_not_there_is_not_logged():
    params = params_of("vanilla", pixel_weight=0.0)
    state = state_of(params)
    step = step_of(state, params)
    step(crops())
    assert "adversarial/pixel" not in step.values
    assert "adversarial/content" in step.values


def test_each_network_is_clipped_by_its_own_norm():
    params = params_of("vanilla")
    params = dataclasses.replace(params, train=dataclasses.replace(params.train, clip_norm=1e-6))
    gradients, _, _ = gradients_of(params)
    assert [round(gradient.norm().item() * 1e6, 2) for gradient in gradients] == [1.0, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_in_the_discriminator_changes_neither_network(bad):
    params = params_of("vanilla")
    state = state_of(params)
    step = step_of(state, params)
    step(crops())
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    step._judged = lambda real, fake: dataclasses.replace(judge("vanilla", real, fake), to_real=real * bad)
    step(crops())
    assert step.left_out
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors().items())


# batch normalisation


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_running_statistics_see_each_part_once(kind, accumulate):
    params = params_of(kind, accumulate=accumulate)
    state, expected = (state_of(params, normalised=True) for _ in range(2))
    step, batch = step_of(state, params), crops()
    step(batch)
    for part in step._parts(BATCH):
        sr = expected.network(batch.lr[part].float())
        expected.discriminator(batch.hr[part].float() / 255)
        expected.discriminator(sr / 255)
    for own, other in zip(state.trained, expected.trained, strict=True):
        for one, two in zip(own.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(one, two)
    assert state.network.norm.num_batches_tracked == accumulate
    assert state.discriminator.norm.num_batches_tracked == 2 * accumulate
    assert state.network.norm.track_running_stats


@pytest.mark.parametrize("kind", KINDS[1:])
def test_cpu_ranks_average_running_statistics_by_their_shares(on_two_ranks, kind):
    params = params_of(kind)
    means = []
    for share in (World(size=2).share(BATCH), World(size=2, rank=1).share(BATCH)):
        own = state_of(params, normalised=True)
        own.network(crops(share).lr.float())
        means.append(own.network.norm.running_mean)
    expected = 0.4 * means[0] + 0.6 * means[1]
    assert not torch.equal(means[0], means[1])
    for _, _, buffers in on_two_ranks[kind, 1, True]:
        torch.testing.assert_close(buffers[0], expected)
        assert buffers[2] == 1
    (_, _, one), (_, _, other) = on_two_ranks[kind, 2, True]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_log_says_how_ranks_normalise():
    networks = state_of(params_of("vanilla"), normalised=True).trained
    two = World(size=2)
    assert batch_norm.explained(networks, World()) is None
    assert batch_norm.explained(state_of(params_of("vanilla")).trained, two) is None
    assert "each rank's own crops" in batch_norm.explained(networks, two)
    assert len(batch_norm.local_statistics(networks, two)) == 4
    names = [list(network.state_dict()) for network in networks]
    gpus = World(size=2, device=torch.device("cuda", 0))
    converted = [batch_norm.over_ranks(network, gpus) for network in networks]
    assert "SyncBatchNorm" in batch_norm.explained(converted, gpus)
    assert batch_norm.local_statistics(converted, gpus) == []
    assert names == [list(network.state_dict()) for network in converted]
