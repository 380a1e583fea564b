"""The losses of pixels and of contents, and that whoever is to learn from one gets its gradient."""

import math

import pytest
import torch
from adversaries import crops, features, params_of, state_of
from torch.nn import functional

from sr_core.models.vgg import VggFeatures
from sr_core.train.adversarial import AdversarialStep
from sr_core.train.losses import LOSSES, accuracy, discriminator_loss, generator_loss, judge
from sr_core.train.step import RegressionStep
from sr_core.world import World

KINDS = ("vanilla", "relativistic")
REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-0.5, 1.5, -2.0])


def pair(peak=1.0):
    generator = torch.Generator().manual_seed(0)
    sr, hr = torch.rand(2, 2, 3, 6, 6, generator=generator) * peak
    return sr.requires_grad_(), hr


def test_pixel_losses_are_the_formulas():
    sr, hr = pair()
    difference = (sr - hr).detach()
    expected = {
        "l1": difference.abs().mean(),
        "mse": (difference**2).mean(),
        "charbonnier": (difference**2 + 1e-6).sqrt().mean(),
    }
    assert LOSSES.keys() == expected.keys()
    for name, loss in LOSSES.items():
        torch.testing.assert_close(loss(sr, hr, 1.0).detach(), expected[name])


@pytest.mark.parametrize(("name", "factor"), [("l1", 255), ("mse", 255**2), ("charbonnier", 255)])
def test_pixel_losses_on_the_other_scale_are_multiples(name, factor):
    sr, hr = pair()
    torch.testing.assert_close(LOSSES[name](sr * 255, hr * 255, 255.0), factor * LOSSES[name](sr, hr, 1.0))


@pytest.mark.parametrize("name", LOSSES)
def test_pixel_losses_have_a_finite_gradient_even_where_images_are_equal(name):
    sr, hr = pair()
    (gradient,) = torch.autograd.grad(LOSSES[name](sr, hr, 1.0), sr)
    assert gradient.norm() > 0
    (gradient,) = torch.autograd.grad(LOSSES[name](sr, sr.detach(), 1.0), sr)
    assert not gradient.any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_network_learns_from_each_pixel_loss(name):
    params = params_of(loss="none")
    state = state_of(params)
    step = RegressionStep(state, params.train, World(), "float32")
    step._loss = LOSSES[name]
    step(crops())
    sr = state_of(params).network(crops().lr.float())
    torch.testing.assert_close(step.gradients.loss, LOSSES[name](sr, crops().hr.float(), 255.0).detach())
    assert step.gradients.gradients.norm() > 0


@pytest.fixture(scope="module")
def vgg19():
    """Made-up weights by the names of torchvision: random features are for tests alone."""
    generator = torch.Generator().manual_seed(4)
    own = VggFeatures("vgg54").state_dict()
    made = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in own.items()}
    return {name: tensor / math.sqrt(tensor[0].numel()) for name, tensor in made.items()}


@pytest.mark.parametrize(
    ("layer", "before_activation", "name", "distance"),
    [
        ("vgg54", False, "mse", functional.mse_loss),  # SRGAN's
        ("vgg54", True, "l1", functional.l1_loss),  # ESRGAN's
        ("vgg22", False, "l1", functional.l1_loss),
        ("vgg22", True, "mse", functional.mse_loss),
    ],
)
def test_the_generator_gets_the_gradient_of_vggs_content_loss(vgg19, layer, before_activation, name, distance):
    network = VggFeatures(layer, before_activation=before_activation)
    network.fill(vgg19)
    params = params_of("vanilla", weight=1e-30, pixel_weight=0.0, content_weight=2.0, content_loss=name)
    step = AdversarialStep(state_of(params), params, World(), "float32", network)
    step(crops())
    state, batch = state_of(params), crops()
    sr = state.network(batch.lr.float())
    loss = 2.0 * distance(network(sr / 255), network(batch.hr.float() / 255))
    expected = torch.autograd.grad(loss, list(state.network.parameters()))
    total = torch.stack([gradient.square().sum() for gradient in expected]).sum().sqrt()
    assert total > 0
    torch.testing.assert_close(step.gradients.of(0).norm(), total)
    torch.testing.assert_close(step.values["adversarial/content"], loss.detach() / 2.0)
    assert all(parameter.grad is None for parameter in network.parameters())


def log_sigmoid(x):
    return torch.log(1 / (1 + torch.exp(-x)))


def test_vanilla_losses_are_the_formulas():
    torch.testing.assert_close(generator_loss("vanilla", REAL, FAKE), -log_sigmoid(FAKE).mean())
    both = -log_sigmoid(REAL).mean() - torch.log(1 - torch.sigmoid(FAKE)).mean()
    torch.testing.assert_close(discriminator_loss("vanilla", REAL, FAKE), both)
    assert accuracy("vanilla", REAL, FAKE) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_relativistic_losses_are_the_formulas():
    bce = functional.binary_cross_entropy_with_logits
    r, f = REAL - FAKE.mean(), FAKE - REAL.mean()
    ones, zeros = torch.ones(3), torch.zeros(3)
    torch.testing.assert_close(generator_loss("relativistic", REAL, FAKE), 0.5 * (bce(r, zeros) + bce(f, ones)))
    torch.testing.assert_close(discriminator_loss("relativistic", REAL, FAKE), 0.5 * (bce(r, ones) + bce(f, zeros)))
    assert accuracy("relativistic", REAL, FAKE) == pytest.approx((2 / 3 + 2 / 3) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_undecided_discriminator_is_right_in_half_of_the_cases(kind):
    zero = torch.zeros(4)
    found = judge(kind, zero, zero)
    assert found.accuracy == 0.5
    expected = math.log(2)
    assert found.generator.item() == pytest.approx(expected)
    assert found.discriminator.item() == pytest.approx(2 * expected if kind == "vanilla" else expected)
    assert (found.to_generator < 0).all()
    assert (found.to_real < 0).all()
    assert (found.to_fake > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_far_from_zero_keep_the_losses_and_their_gradients_finite(kind):
    found = judge(kind, torch.tensor([300.0, 1.0]), torch.tensor([-300.0, 1.0]))
    values = [found.generator, found.discriminator, found.to_generator, found.to_real, found.to_fake]
    assert all(torch.isfinite(value).all() for value in values)
    assert (found.to_generator < 0).any()


def test_frozen_features_get_no_gradient():
    assert not any(parameter.requires_grad for parameter in features().parameters())
