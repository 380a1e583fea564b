"""Who may be compared with whom, and under which names; what on."""

import dataclasses

import numpy as np
import pytest
import torch
from comparing import loaded, wanted
from photos import noise, params_for, write_folder

from sr_core.compare.entrants import Entrant, line_up, problems_of
from sr_core.compare.sets import gathered
from sr_core.data.images import write_png
from sr_core.data.resize import bicubic_down
from sr_core.data.shards import build
from sr_core.params import DataParams, EvaluateParams, Params
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
    assert counted(model) == expected > 0
    assert counted(open_model("bicubic", 2)) == 0
    hidden = torch.nn.Identity()  # as ONNX hides them
    assert counted(dataclasses.replace(model, network=hidden)) is None
    hidden.num_parameters = expected
    assert counted(dataclasses.replace(model, network=hidden)) == expected


def counted(model):
    return Entrant(label="a", source="a", loaded=model).num_parameters


@pytest.fixture
def photographs(tmp_path):
    return write_folder(tmp_path / "Photos", [(40, 60), (51, 45)])


def test_a_folder_has_the_degradations_that_can_be_made_here(photographs):
    found = gathered(wanted(photographs, degradations=("bicubic", "unknown", "second_order")), Params())
    assert (found.problems, found.remarks) == ((), ())
    assert [(each.name, each.lr_source) for each in found.sets] == [
        ("Photos-x2-bicubic", "made here: bicubic, border clamp"),
        ("Photos-x2-unknown", "made here: unknown, seed 0"),
        ("Photos-x2-second_order", "made here: second_order, seed 0"),
    ]
    assert len({each.images.digest for each in found.sets}) == 3
    assert not np.array_equal(found.sets[0].images.lr(1), found.sets[1].images.lr(1))


def test_lr_files_are_taken_as_they_are(tmp_path):
    hr, given = noise(40, 60), noise(20, 30, seed=9)
    write_png(tmp_path / "Set1" / "a_SRF_2_HR.png", hr)
    write_png(tmp_path / "Set1" / "a_SRF_2_LR.png", given)
    found = gathered(wanted(tmp_path / "Set1", degradations=("bicubic", "unknown")), Params()).sets
    assert found[0].lr_source == "files"
    assert np.array_equal(found[0].images.lr(0), given)
    assert not np.array_equal(found[1].images.lr(0), given)


def test_everything_that_cannot_be_used_is_listed(photographs, tmp_path):
    (tmp_path / "Empty").mkdir()
    folders = [photographs, photographs, tmp_path / "Empty", tmp_path / "absent"]
    params = Params(data=DataParams(scale=2, root=str(tmp_path / "data")))
    found = gathered(wanted(*folders, degradations=("bicubic", "unknown"), validation=True), params)
    several = ("Photos-x2-bicubic: is the name of several", "Photos-x2-unknown: is the name of several")
    said = ("x2/train", "Empty: holds no", "absent: is not a folder", *several)
    for text, problem in zip(said, found.problems, strict=True):
        assert text in problem
    assert gathered(wanted(), Params()).problems == ("there are no test images; add --images FOLDER",)


def test_a_degradation_that_a_folder_cannot_have_is_wrong_where_it_was_named_and_else_left_out(photographs):
    mild = gathered(wanted(photographs, degradations=("mild", "bicubic"), scale=4), Params())
    assert "has no LR images of mild, and they cannot be made here" in mild.problems[0]
    every = ("mild", "mixed", "bicubic")
    optional = gathered(wanted(photographs, degradations=every, optional=every, scale=4), Params())
    assert optional.problems == ()
    assert [each.degradation for each in optional.sets] == ["bicubic"]
    assert len(optional.remarks) == 2
    nowhere = gathered(wanted("nowhere", degradations=every, optional=every), Params())
    assert "nowhere: is not a folder, expected one with test images" in nowhere.problems


def test_a_set_is_measured_by_its_usual_protocol_unless_another_is_named(tmp_path):
    folder = write_folder(tmp_path / "Set5", [(40, 40)] * 5)
    usual = gathered(wanted(folder), Params(evaluate=EvaluateParams(protocol="div2k-rgb"))).sets[0]
    assert (usual.test_set, usual.protocol.name) == ("Set5", "benchmark-y")
    named = gathered(wanted(folder, protocol="whole-rgb"), Params()).sets[0]
    assert named.protocol.name == "whole-rgb"


def test_validation_images_come_from_their_shards(photographs, tmp_path):
    data = params_for(tmp_path / "data", photographs, valid_every=2)
    build(data, progress=QUIET)
    found = gathered(wanted(validation=True), Params(data=data))
    assert found.problems == ()
    assert [each.name for each in found.sets] == [
        f"{each.test_set.replace(' ', '-')}-x2-bicubic" for each in found.sets
    ]
    assert found.sets[0].lr_source == "shards"
    valid = found.sets[0].images
    assert np.array_equal(valid.lr(0), bicubic_down(valid.hr(0), 2))
