"""params.yaml ships as the sample, and every profile is a complete params file with a recipe for each network."""

import dataclasses

import pytest
import yaml
from source_tree import ROOT

from sr_core import config
from sr_core.models import MODELS, check_trainable
from sr_core.params import NETWORKS

PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))
TRAINABLE = [name for name, entry in MODELS.items() if entry.is_trainable]
# what a recipe says of train whether or not it is what the section says already
STATED = {"steps", "batch", "crop", "start", "loss", "lr", "lr_milestones", "lr_decay", "adam_betas", "ema_decay"}


def written(profile):
    return yaml.safe_load(profile.read_text())


def paper(name):
    return config.load(ROOT / "profiles" / "div2k.yaml", [f"model.name={name}"])


def test_the_shipped_params_are_the_sample():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "profiles" / "sample.yaml").read_bytes()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_names_every_key_in_order(profile):
    config.load(profile)
    tree = written(profile)
    assert list(tree) == [*(field.name for field in dataclasses.fields(config.Params)), config.RECIPES]
    for section in dataclasses.fields(config.Params):
        if isinstance(tree[section.name], dict):
            expected = [field.name for field in dataclasses.fields(section.type)]
            assert list(tree[section.name]) == expected, f"{profile.name}: {section.name}"


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_has_a_recipe_for_each_network_that_can_be_trained(profile):
    assert set(TRAINABLE) == set(written(profile)[config.RECIPES])


@pytest.mark.parametrize("name", TRAINABLE)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_recipe_can_be_trained(profile, name):
    params = config.load(profile, [f"model.name={name}"])
    assert params.model.name == name
    check_trainable(params)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_recipe_states_what_its_schedule_is(profile):
    for name, recipe in written(profile)[config.RECIPES].items():
        if name == "edsr":  # the sections themselves are its recipe
            assert recipe == {}
            continue
        assert set(recipe["model"]) == {"preset", "options"}, name
        assert set(recipe["train"]) == STATED, name
        assert recipe["train"]["lr_milestones"] == sorted(recipe["train"]["lr_milestones"]), name
        assert all(milestone < recipe["train"]["steps"] for milestone in recipe["train"]["lr_milestones"]), name


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_fine_tune_says_all_of_its_losses_and_begins_with_its_own_network(profile):
    recipes = written(profile)[config.RECIPES]
    adversarial = [field.name for field in dataclasses.fields(config.load(profile).adversarial)]
    assert [name for name, recipe in recipes.items() if "adversarial" in recipe] == ["srgan", "esrgan"]
    for name, parent in {"srgan": "srresnet", "esrgan": "rrdb"}.items():
        assert list(recipes[name]["adversarial"]) == adversarial, name
        assert recipes[name]["train"]["start"] == parent
        assert recipes[name]["model"] == recipes[parent]["model"], f"{name} cannot begin with another architecture"


def test_nothing_of_the_sample_is_downloaded():
    tree = written(ROOT / "profiles" / "sample.yaml")
    contents = {
        name: recipe["adversarial"]["content"]
        for name, recipe in tree[config.RECIPES].items()
        if "adversarial" in recipe
    }
    assert set(contents.values()) <= {"pixel", "none"}


def test_the_div2k_profile_is_edsrs_schedule():
    params = paper("edsr")
    train = params.train
    assert (train.steps, train.batch, params.crop, train.lr) == (300_000, 16, 48, 1e-4)
    assert (train.lr_milestones, train.lr_decay, train.eval_every, train.eval_images) == ((200_000,), 0.5, 1000, 10)
    assert (params.model.preset, params.data.source, params.evaluate.protocol) == ("baseline", "div2k", "div2k-rgb")
    assert (train.loss, train.adam_betas, train.ema_decay, train.start) == ("l1", (0.9, 0.999), 0.0, None)


# steps, batch, LR crop at x4, loss, lr, milestones, decay, EMA, start: the profile's comments say where from
SCHEDULES = {
    "srcnn": (6_250_000, 128, 8, "mse", 1e-4, (), 0.5, 0.0, None),
    "wdsr_a": (250_000, 16, 48, "l1", 1e-3, (200_000,), 0.5, 0.0, None),
    "wdsr_b": (250_000, 16, 48, "l1", 1e-3, (200_000,), 0.5, 0.0, None),
    "srresnet": (1_000_000, 16, 24, "mse", 1e-4, (), 0.5, 0.0, None),
    "rrdb": (1_000_000, 16, 32, "l1", 2e-4, (200_000, 400_000, 600_000, 800_000), 0.5, 0.0, None),
    "srgan": (200_000, 16, 24, "mse", 1e-4, (100_000,), 0.1, 0.0, "srresnet"),
    "esrgan": (400_000, 16, 32, "l1", 1e-4, (50_000, 100_000, 200_000, 300_000), 0.5, 0.999, "rrdb"),
}
PRESETS = {"srcnn": "9-5-5", "wdsr_a": "baseline", "wdsr_b": "baseline"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_div2k_profile_is_each_papers_schedule(name):
    params = paper(name)
    train = params.train
    optimizer = (train.loss, train.lr, train.lr_milestones, train.lr_decay, train.ema_decay, train.start)
    assert (train.steps, train.batch, params.crop, *optimizer) == SCHEDULES[name]
    assert train.adam_betas == (0.9, 0.999)
    assert params.model.preset == PRESETS.get(name, "paper")
    assert params.is_adversarial == (name in {"srgan", "esrgan"})


def test_the_div2k_profile_has_srgans_losses():
    losses = paper("srgan").adversarial
    assert (losses.loss, losses.weight, losses.pixel_weight) == ("vanilla", 1e-3, 0.0)
    assert (losses.content, losses.content_loss, losses.content_weight) == ("vgg54", "mse", 1.0)
    assert not losses.before_activation
    assert (losses.discriminator_features, losses.discriminator_dense) == (64, 1024)


def test_the_div2k_profile_has_esrgans_losses():
    losses = paper("esrgan").adversarial
    assert (losses.loss, losses.weight, losses.pixel_weight) == ("relativistic", 5e-3, 1e-2)
    assert (losses.content, losses.content_loss, losses.content_weight) == ("vgg54", "l1", 1.0)
    assert losses.before_activation


def test_the_parameters_know_every_network_that_is_trained():
    assert set(NETWORKS) == {name for name, entry in MODELS.items() if entry.is_trainable}
