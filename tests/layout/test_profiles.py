"""params.yaml ships as the sample, and every profile is a complete params file."""

import dataclasses

import pytest
import yaml
from source_tree import ROOT

from sr_core import config

PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def test_the_shipped_params_are_the_sample():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "profiles" / "sample.yaml").read_bytes()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_names_every_key_in_order(profile):
    config.load(profile)
    written = yaml.safe_load(profile.read_text())
    assert list(written) == [*(field.name for field in dataclasses.fields(config.Params)), config.RECIPES]
    for section in dataclasses.fields(config.Params):
        if isinstance(written[section.name], dict):
            expected = [field.name for field in dataclasses.fields(section.type)]
            assert list(written[section.name]) == expected, f"{profile.name}: {section.name}"


def test_the_div2k_profile_is_the_papers_schedule():
    params = config.load(ROOT / "profiles" / "div2k.yaml")
    train = params.train
    assert (train.steps, train.batch, params.data.crop, train.lr) == (300_000, 16, 48, 1e-4)
    assert (train.lr_milestones, train.lr_decay, train.eval_every, train.eval_images) == ((200_000,), 0.5, 1000, 10)
    assert (params.model.preset, params.data.source, params.evaluate.protocol) == ("baseline", "div2k", "div2k-rgb")
