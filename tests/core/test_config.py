"""params.yaml as typed values: every mistake is named, all at once, and the digest says what it should."""

import dataclasses
import math

import pytest

from sr_core import config
from sr_core.errors import ConfigError
from sr_core.params import DataParams, Params, TrainParams


def load(tmp_path, text, *overrides):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return config.load(path, overrides)


def complaint(tmp_path, text, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value)


def test_an_empty_mapping_is_the_defaults_and_plain_values_read_back(tmp_path):
    assert load(tmp_path, "{}") == Params()
    assert config.from_dict(config.to_dict(Params())) == Params()


def test_lists_become_tuples_and_whole_numbers_become_floats(tmp_path):
    params = load(tmp_path, "train: {lr: 1, lr_milestones: [3, 5], adam_betas: [0, 0.9]}")
    assert params.train.lr == 1.0
    assert isinstance(params.train.lr, float)
    assert params.train.lr_milestones == (3, 5)
    assert params.train.adam_betas == (0.0, 0.9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("traim: {}", "traim: no such key; did you mean train?"),
        ("train: {stesp: 5}", "train.stesp: no such key; did you mean steps?"),
        ("data: {zzzzzz: 5}", "data.zzzzzz: no such key; expected one of source, root,"),
        ("7: 5", "7: no such key"),
        ("train: 5", "train: is 5, expected keys below it"),
        ("train:", "train: is None, expected keys below it"),
        ("model: {options: 5}", "model.options: is 5, expected keys below it"),
        ("train: {steps: '600'}", "train.steps: is '600', expected a whole number: YAML reads 600 as text; write 600"),
        ("train: {steps: 1.5}", "train.steps: is 1.5, expected a whole number"),
        ("train: {steps: true}", "train.steps: is True, expected a whole number"),
        ("train: {lr: true}", "train.lr: is True, expected a number"),
        ("train: {augment: 1}", "train.augment: is 1, expected true or false"),
        ("train: {augment: 'yes'}", "train.augment: is 'yes', expected true or false"),
        ("data: {root: 5}", "data.root: is 5, expected text"),
        ("seed: null", "seed: is None, expected a whole number"),
        ("seed: -1", "seed: is -1, expected 0 or more"),
        ("train: {lr_milestones: 5}", "train.lr_milestones: is 5, expected a list"),
        ("train: {lr_milestones: [1, x]}", "train.lr_milestones[1]: is 'x', expected a whole number"),
        ("train: {adam_betas: [0.9]}", "train.adam_betas: has 1 items, expected 2"),
        ("train: {precision: fp16}", "train.precision: is 'fp16', expected auto or bf16 or float32"),
        ("matrix: {models: [1]}", "matrix.models[0]: is 1, expected text"),
    ],
)
def test_unknown_keys_and_wrong_types(tmp_path, text, said):
    assert said in complaint(tmp_path, text)


@pytest.mark.parametrize(("written", "advice"), [("1e-4", "write 0.0001"), ("1e-7", "write 1.0e-07")])
def test_a_number_that_yaml_reads_as_text(tmp_path, written, advice):
    said = complaint(tmp_path, f"train: {{lr: {written}}}")
    assert f"train.lr: is '{written}', expected a number: YAML reads {written} as text; {advice}" in said
    assert load(tmp_path, f"train: {{lr: {advice.split()[1]}}}").train.lr == float(written)


@pytest.mark.parametrize("text", ["nan", "inf", "-infinity", "1.5e0"])
def test_text_that_is_no_whole_number_gets_no_advice(tmp_path, text):
    assert complaint(tmp_path, f"train: {{steps: {text}}}").endswith("expected a whole number")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {scale: 5}", "data.scale: is 5, expected 2, 3, 4 or 8"),
        ("data: {degradation: rain}", "data.degradation: is 'rain', expected bicubic, unknown, mild"),
        ("data: {source: folder}", "data.folder: is None, expected a path when data.source is folder"),
        ("data: {folder: /tmp}", "data.folder: is '/tmp', expected a path when data.source is folder, and null"),
        ("data: {crop: 0}", "data.crop: is 0, expected 8 or more"),
        ("data: {patch: 190, crop: 8}", "data.patch: is 190, expected a multiple of data.scale 4"),
        ("train: {steps: 0}", "train.steps: is 0, expected 1 or more"),
        ("train: {keep_checkpoints: 1}", "train.keep_checkpoints: is 1, expected 2 or more"),
        ("train: {lr: .nan}", "train.lr: is nan, expected a finite number above 0"),
        ("train: {lr: .inf}", "train.lr: is inf, expected a finite number above 0"),
        ("train: {lr: 0}", "train.lr: is 0.0, expected a finite number above 0"),
        ("train: {ema_decay: 1}", "train.ema_decay: is 1.0, expected 0 (off) or a number below 1"),
        ("train: {ema_decay: .nan}", "train.ema_decay: is nan"),
        ("train: {clip_norm: .nan}", "train.clip_norm: is nan, expected 0 (off) or a finite number"),
        ("train: {adam_betas: [0.9, .nan]}", "train.adam_betas: is [0.9, nan], expected two numbers in 0 <= beta < 1"),
        ("train: {lr_milestones: [5, 5]}", "train.lr_milestones: is [5, 5], expected increasing steps"),
        ("train: {num_threads: 0}", "train.num_threads: is 0, expected null, or 1 to 1024"),
        ("launch: {num_workers: 0}", "launch.num_workers: is 0, expected 1 or more"),
    ],
)
def test_values_out_of_range(tmp_path, text, said):
    assert said in complaint(tmp_path, text)


def test_a_crop_larger_than_the_patch_names_both(tmp_path):
    said = complaint(tmp_path, "data: {crop: 64, patch: 192}")
    assert "data.patch: is 192 HR pixels, but a crop is 64 x 4 = 256" in said
    assert "raise data.patch or lower data.crop" in said
    assert load(tmp_path, "data: {crop: 48, patch: 192}").data.patch == 192


def test_all_mistakes_are_listed_at_once(tmp_path):
    said = complaint(tmp_path, "sed: 1\ndata: {scale: 5}\ntrain: {lr: 1e-4}\nlaunch: {max_failures: -1}")
    assert "4 wrong:" in said
    for key in ("sed", "data.scale", "train.lr", "launch.max_failures"):
        assert f"\n  {key}: " in said


def test_overrides_replace_what_the_file_says(tmp_path):
    text = "train: {steps: 600}\nmodel: {name: edsr}"
    params = load(tmp_path, text, "train.steps=7", "data.scale=2", "train.lr_milestones=[1, 2]", "model.options.a=3")
    assert (params.train.steps, params.data.scale, params.train.lr_milestones) == (7, 2, (1, 2))
    assert params.model.options == {"a": 3}
    assert params.model.name == "edsr"


def test_an_override_may_spell_a_number_as_the_shell_user_does(tmp_path):
    assert load(tmp_path, "{}", "train.lr=1e-4").train.lr == 1e-4
    assert load(tmp_path, "{}", "data.source=folder", "data.folder=1e3").data.folder == "1e3"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.steps", "--set train.steps: expected key=value, such as train.steps=100"),
        ("seed.x=1", "--set seed.x=1: seed is a value and holds no keys"),
        ("train.steps=[1", "--set train.steps=[1: '[1' is not a YAML value"),
        ("train.stesp=1", "train.stesp: no such key; did you mean steps?"),
        ("traim.steps=1", "traim: no such key; did you mean train?"),
        ("train.lr=nan", "train.lr: is 'nan', expected a number"),
        ("train.steps=", "train.steps: is None, expected a whole number"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, override, said):
    assert said in complaint(tmp_path, "seed: 1", override)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no keys"), ("- 1", "holds no keys"), ("a: [", "is not valid YAML"), ("a: b: c", "is not valid YAML")],
)
def test_a_file_without_keys(tmp_path, text, said):
    message = complaint(tmp_path, text)
    assert said in message
    assert str(tmp_path / "params.yaml") in message


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read \(No such file or directory\)"):
        config.load(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"binary\.yaml: is not valid YAML"):
        config.load(tmp_path / "binary.yaml")


def changed(section, **values):
    """The default parameters with one section's values replaced."""
    params = Params()
    return dataclasses.replace(params, **{section: dataclasses.replace(getattr(params, section), **values)})


@pytest.mark.parametrize(
    "same",
    [
        changed("train", log_every=7),
        changed("train", checkpoint_every=7, keep_checkpoints=9, collective_timeout_s=5.0),
        changed("data", source="div2k", root="elsewhere", shard_bytes=1, num_writers=5),
        changed("launch", num_workers=5, use_gpu=True),
        changed("track", uri="http://elsewhere"),
        changed("matrix", models=("edsr", "other")),
    ],
)
def test_where_and_how_widely_a_job_runs_is_not_in_the_digest(same):
    assert same.digest() == Params().digest()


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(Params(), seed=2),
        changed("train", lr=2e-4),
        changed("train", steps=7),
        changed("train", num_threads=3),
        changed("train", ema_decay=0.0),
        changed("model", preset="full"),
        changed("model", options={"num_blocks": 3}),
        changed("data", crop=24),
        changed("data", scale=2),
        changed("data", degradation="unknown"),
    ],
)
def test_what_makes_other_weights_is_in_the_digest(other):
    assert other.digest() != Params().digest()


def test_the_digest_is_the_same_tomorrow():
    # a change here gives every run directory another name: let it be on purpose
    assert Params().digest()[:16] == "6ab38e6ad69845b5"


def test_the_task_names_model_scale_and_degradation():
    assert changed("data", scale=3, degradation="unknown").task == "edsr-x3-unknown"


def test_the_defaults_are_the_papers():
    train = TrainParams()
    assert (train.steps, train.batch, train.lr, train.lr_milestones) == (300_000, 16, 1e-4, (200_000,))
    assert DataParams().crop == 48
    assert math.isclose(train.lr_decay, 0.5)


def test_a_key_that_stands_twice_is_named(tmp_path):
    assert "train: stands twice" in complaint(tmp_path, "train:\n  steps: 7\nseed: 1\ntrain:\n  batch: 2\n")


def test_ranges_are_checked_beside_unknown_keys():
    with pytest.raises(ConfigError) as caught:
        config.from_dict({"train": {"stepz": 0, "batch": -1}, "seed": 2**70, "steps": 5})
    assert all(
        text in str(caught.value) for text in ("stepz: no such key", "batch: is -1", "did you mean train.steps?")
    )
    with pytest.raises(ConfigError, match="seed: is 1180591620717411303424, expected"):
        config.from_dict({"seed": 2**70})


def test_a_date_that_is_none_is_no_traceback(tmp_path):
    assert "is not valid YAML" in complaint(tmp_path, "seed: 2024-99-99\n")


RECIPES = """
model: {name: edsr, preset: small}
train: {lr: 1.0e-3, batch: 8}
recipes:
  edsr: {}
  wdsr_a: {model: {preset: baseline}, train: {lr: 5.0e-3}}
"""


def test_a_recipe_lies_over_the_sections_and_below_the_overrides(tmp_path):
    own, chosen = load(tmp_path, RECIPES), load(tmp_path, RECIPES, "model.name=wdsr_a")
    assert (own.model.preset, own.train.lr, own.train.batch) == ("small", 1e-3, 8)
    assert (chosen.model.preset, chosen.train.lr, chosen.train.batch) == ("baseline", 5e-3, 8)
    assert load(tmp_path, RECIPES, "model.name=wdsr_a", "train.lr=2e-3").train.lr == 2e-3
    assert load(tmp_path, RECIPES, "model.name=wdsr_a", "recipes.wdsr_a.train.batch=2").train.batch == 2


def test_every_recipe_is_checked_whichever_is_chosen(tmp_path):
    wrong = "  wdsr_b: {train: {lr: 0, bacth: 3}}\n  srcnn: {data: {scale: 2}}\n  rrdb: 3\n"
    said = complaint(tmp_path, RECIPES + wrong)
    for part in (
        "recipes.wdsr_b.train.lr: is 0",
        "recipes.wdsr_b.train.bacth: no such key",
        "recipes.srcnn.data: expected the sections model, train, adversarial",
        "recipes.rrdb: expected",
    ):
        assert part in said


def test_shards_of_smaller_crops_hinder_only_the_recipe_that_is_chosen(tmp_path):
    text = RECIPES + "  srresnet: {train: {crop: 24}}\n"
    assert load(tmp_path, text, "data.crop=8").crop == 8
    assert "train.crop: is 24, expected 8" in complaint(tmp_path, text, "data.crop=8", "model.name=srresnet")


def test_a_training_crop_is_cut_from_the_stored_one():
    assert config.from_dict({"data": {"crop": 48}}).crop == 48
    assert config.from_dict({"data": {"crop": 48}, "train": {"crop": 24}}).crop == 24
    with pytest.raises(ConfigError, match=r"train\.crop: is 64, expected 48 \(data\.crop"):
        config.from_dict({"data": {"crop": 48}, "train": {"crop": 64}})


@pytest.mark.parametrize(
    "entry", ["{model: srgan}", "{model: edsr, start: edsr}", "{model: srgan, start: a, steps: 3}"]
)
def test_a_fine_tune_in_the_matrix_names_its_model_and_where_it_begins(tmp_path, entry):
    said = complaint(tmp_path, f"matrix: {{adversarial: [{entry}]}}")
    assert "matrix.adversarial: has {'model': " in said
    assert said.endswith("expected {model: esrgan or srgan, start: the model it begins with}")
    params = load(tmp_path, "matrix: {adversarial: [{model: srgan, start: srresnet}]}")
    assert params.matrix.adversarial == ({"model": "srgan", "start": "srresnet"},)
    assert config.from_dict(config.to_dict(params)) == params


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=edsr"], "model: is 'edsr', expected keys below it"),
        (["train=3"], "train: is 3, expected keys below it"),
        (["adversarial=vanilla"], "adversarial: is 'vanilla', expected keys below it"),
        (["model.name=[1]"], "model.name: is [1], expected text"),
        (["matrix.adversarial=[{model: [1], start: a}]"], "matrix.adversarial"),
        (["recipes.wdsra.train.steps=3"], "recipes.wdsra: no such network; did you mean wdsr_a?"),
    ],
)
def test_what_is_no_section_no_name_and_no_recipe_is_said(tmp_path, overrides, said):
    text = RECIPES.replace(
        "edsr: {}", "edsr: {model: {preset: baseline}, train: {steps: 7}, adversarial: {weight: 1.0}}"
    )
    assert said in complaint(tmp_path, text, *overrides)


def test_a_file_without_a_model_has_the_default_ones_recipe(tmp_path):
    assert load(tmp_path, "recipes: {edsr: {train: {steps: 7}}}").train.steps == 7


def test_recipes_may_have_crops_larger_than_usual(tmp_path):
    text = RECIPES + "  rrdb: {train: {crop: 64}}\ndata: {crop: 64}\n"
    assert load(tmp_path, text, "model.name=rrdb").crop == 64
