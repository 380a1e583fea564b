"""Who may be compared with whom, and under which names; what on."""

import dataclasses

import numpy as np
import pytest
import torch
from comparing import loaded
from photos import noise, params_for, write_folder

from sr_core.compare.entrants import count_parameters, line_up, problems_of
from sr_core.compare.sets import gathered
from sr_core.data import synthetic
from sr_core.data.images import write_png
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.params import DataParams
from sr_core.progress import QUIET
from sr_core.train.weights import open_model


def labels(*opened):
    return [entrant.label for entrant in line_up(opened)]


def test_a_name_that_is_the_only_one_is_the_label():
    assert labels(("a", loaded()), ("b", loaded("srcnn"))) == ["edsr", "srcnn"]


def test_networks_of_one_name_are_told_by_their_weights():
    assert labels(("a", loaded(seed=1)), ("b", loaded(seed=2)), ("c", loaded("srcnn"))) == [
        "edsr-01010101",
        "edsr-02020202",
        "srcnn",
    ]


def test_an_onnx_file_stands_beside_what_it_was_made_of():
    opened = [("models/edsr", loaded()), ("edsr.onnx", loaded())]
    assert labels(*opened) == ["edsr", "edsr-onnx"]
    assert list(problems_of(opened)) == []


def test_a_label_is_fit_for_a_file_and_no_name_of_a_picture():
    strange = loaded()
    for name, label in {"a/b c": "a_b_c", "../x": "_x", "hr": "model-hr", "lr": "model-lr"}.items():
        card = dataclasses.replace(strange.card, model=name)
        assert labels(("x", dataclasses.replace(strange, card=card))) == [label]


def test_bicubic_takes_part_anyway():
    assert labels(("bicubic", open_model("bicubic", 2)), ("lanczos", open_model("lanczos", 2))) == ["lanczos"]


def test_every_model_that_does_not_fit_is_said_at_once():
    opened = [("a", loaded(seed=1)), ("b", loaded(seed=1)), ("c", loaded(scale=4, seed=3)), ("d", loaded("srcnn"))]
    assert list(problems_of(opened)) == [
        "b: is the same model as a; leave one of them out",
        "the models are of different scales, expected one (x2: a, b, d; x4: c)",
    ]


def test_parameters_are_counted():
    model = loaded()
    expected = sum(each.numel() for each in model.network.parameters())
    assert count_parameters(model) == expected > 0
    assert count_parameters(open_model("bicubic", 2)) == 0
    hidden = dataclasses.replace(model, network=torch.nn.Identity())  # as ONNX hides them
    assert count_parameters(hidden) == expected
    assert count_parameters(dataclasses.replace(hidden, card=dataclasses.replace(model.card, model="other"))) is None


@pytest.fixture
def photographs(tmp_path):
    return write_folder(tmp_path / "Photos", [(40, 60), (51, 45)])


def test_a_folder_has_the_degradations_that_can_be_made_here(photographs):
    params = DataParams(scale=2)
    found, problems = gathered([photographs], 2, ["bicubic", "unknown", "second_order"], params)
    assert problems == ()
    assert [(each.name, each.origin) for each in found] == [
        ("Photos-x2-bicubic", "made"),
        ("Photos-x2-unknown", "made"),
        ("Photos-x2-second_order", "made"),
    ]
    assert len({each.images.digest for each in found}) == 3
    for each in found:
        assert each.images.hr(1).shape == (50, 44, 3)
        assert each.images.lr(1).shape == (25, 22, 3)
    drawn = synthetic.random_for(params.degradation_seed, "01", "unknown", 0)
    expected = synthetic.unknown(found[1].images.hr(1), 2, params.unknown, drawn)
    assert np.array_equal(found[1].images.lr(1), expected)
    assert not np.array_equal(found[1].images.lr(1), found[0].images.lr(1))


def test_another_seed_makes_another_set(photographs):
    digests = {
        gathered([photographs], 2, ["unknown"], DataParams(scale=2, degradation_seed=seed))[0][0].images.digest
        for seed in (0, 1)
    }
    assert len(digests) == 2


def test_lr_files_are_taken_as_they_are(tmp_path):
    hr, given = noise(40, 60), noise(20, 30, seed=9)
    write_png(tmp_path / "Set1" / "a_SRF_2_HR.png", hr)
    write_png(tmp_path / "Set1" / "a_SRF_2_LR.png", given)
    found, _ = gathered([tmp_path / "Set1"], 2, ["bicubic", "unknown"], DataParams(scale=2))
    assert [each.origin for each in found] == ["files", "made"]
    assert np.array_equal(found[0].images.lr(0), given)
    assert not np.array_equal(found[1].images.lr(0), given)


def test_everything_that_cannot_be_used_is_listed(photographs, tmp_path):
    (tmp_path / "Empty").mkdir()
    folders = [photographs, photographs, tmp_path / "Empty", tmp_path / "absent"]
    params = DataParams(scale=2, root=str(tmp_path / "data"))
    _, problems = gathered(folders, 2, ["bicubic"], params, validation=["bicubic"])
    said = ("shards", "Empty: holds no test images", "absent: is not a folder", "several")
    for text, problem in zip(said, problems, strict=True):
        assert text in problem
    _, problems = gathered([photographs], 2, ["mild", "bicubic"], DataParams(scale=4))
    assert problems == ("mild: cannot be made here for folders of images, expected bicubic, unknown, second_order",)
    assert gathered([], 2, ["bicubic"], DataParams())[1] == ("there are no test images; add --images FOLDER",)


def test_validation_images_come_from_their_shards(photographs, tmp_path):
    data = params_for(tmp_path / "data", photographs, valid_every=2)
    build(data, progress=QUIET)
    found, problems = gathered([], 2, ["unknown"], data, validation=["bicubic"])
    assert problems == ()
    assert [each.name for each in found] == [f"{each.test_set.replace(' ', '-')}-x2-bicubic" for each in found]
    valid = found[0].images
    assert np.array_equal(valid.lr(0), bicubic_down(valid.hr(0), 2))
