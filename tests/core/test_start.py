"""Weights that a run begins with: found by name or path, told by their sha256, taken over whole or but for the tail."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import training
from photos import SCALE

from sr_core import models
from sr_core.data.patches import Dataset
from sr_core.errors import CheckpointError, ConfigError
from sr_core.models.card import Card
from sr_core.params import ModelParams, Params
from sr_core.progress import QUIET
from sr_core.train import run, start
from sr_core.train.exchange import export_model
from sr_core.train.weights import WEIGHTS, read_card, save_model

OPTIONS = {"num_blocks": 1, "num_features": 8}


class Said:
    """A Progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, label, total=None, *, unit="things"):
        pass

    def advance(self, amount=1):
        pass

    def say(self, text):
        self.lines.append(text)


def write_model(directory: Path, *, seed: int = 5, scale: int = SCALE, name: str = "edsr", **options) -> Path:
    """A model directory with weights that no training has made."""
    options = OPTIONS | options
    torch.manual_seed(seed)
    network = models.build(name, scale=scale, preset="small", options=options)
    card = Card(
        model=name,
        preset="small",
        options=options,
        scale=scale,
        degradation="bicubic",
        dataset="made up",
        data_digest="d" * 64,
        params_digest="p" * 64,
        run="made-up",
        step=1,
        git_commit=None,
        protocol="benchmark-y",
        valid_psnr=28.0,
    )
    save_model(directory, network.state_dict(), card, {})
    return directory


def built(params: Params, seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = params.model
    return models.build(model.name, scale=params.data.scale, preset=model.preset, options=model.options)


def begun(params: Params) -> tuple[torch.nn.Module, str]:
    """The network after its weights were taken over, and what was said of it."""
    network, said = built(params), Said()
    found = start.find(params)
    assert found is not None
    start.begin(network, params, sha256=found.sha256, progress=said)
    return network, "\n".join(said.lines)


def params_for(root: Path, given: object, **model) -> Params:
    base = Params(model=ModelParams(options=OPTIONS | model))
    data = dataclasses.replace(base.data, root=str(root / "data"), scale=SCALE)
    return dataclasses.replace(base, data=data, train=dataclasses.replace(base.train, start=str(given)))


def refused(params: Params) -> str:
    with pytest.raises(CheckpointError) as caught:
        begun(params)
    return str(caught.value)


def test_every_tensor_of_the_same_network_is_taken_over(tmp_path):
    params = params_for(tmp_path, write_model(tmp_path / "parent"))
    network, said = begun(params)
    theirs = start.load_model(tmp_path / "parent").network.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    assert f"begins with {tmp_path}/parent (edsr x2, " in said
    assert f"{len(theirs)} tensors of {sum(tensor.numel() for tensor in theirs.values()):,} numbers" in said
    assert "new for" not in said


def test_from_another_scale_the_body_is_taken_over_and_the_tail_is_new(tmp_path):
    params = params_for(tmp_path, write_model(tmp_path / "parent", scale=4))
    network, said = begun(params)
    fresh, theirs = built(params).state_dict(), start.load_model(tmp_path / "parent").network.state_dict()
    new = {name for name in fresh if name.startswith(network.scale_dependent)}
    assert {name.partition(".")[0] for name in new} == set(network.scale_dependent) == {"upsampler", "tail"}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, fresh[name] if name in new else theirs[name])
    assert f"upsampler, tail new for x2: {len(new)} tensors of " in said
    assert f": {len(fresh) - len(new)} tensors of " in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"res_scale": 0.5}, "res_scale is 0.5 there and 1.0 here; give both"),
        ({"num_features": 4}, "num_features is 4 there and 8 here, head.weight is (4, 3, 3, 3) there and (8, 3, 3, 3)"),
        ({"num_blocks": 2}, "num_blocks is 2 there and 1 here, body.1.conv1.weight is (8, 8, 3, 3) there and absent"),
    ],
)
def test_other_options_are_refused_by_the_first_that_differs(tmp_path, options, said):
    found = refused(params_for(tmp_path, write_model(tmp_path / "parent", **options)))
    assert said in found
    assert f"train.start: {tmp_path}/parent holds edsr x2, which edsr x2 of these parameters cannot" in found


def test_at_another_scale_other_options_are_refused_too(tmp_path):
    assert "num_blocks is 2 there" in refused(params_for(tmp_path, write_model(tmp_path / "a", scale=4, num_blocks=2)))


def test_damaged_weights_are_refused(tmp_path):
    parent = write_model(tmp_path / "parent")
    data = bytearray((parent / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (parent / WEIGHTS).write_bytes(data)
    assert "sha256" in refused(params_for(tmp_path, parent))


def test_weights_that_change_before_they_are_read_are_refused(tmp_path):
    params = params_for(tmp_path, write_model(tmp_path / "parent"))
    with pytest.raises(CheckpointError, match=r"^train\.start: was 00000000 when the run was started and is \w{8}"):
        start.begin(built(params), params, sha256="0" * 64, progress=QUIET)


def test_a_networks_name_means_its_published_model_of_this_task(tmp_path):
    params = dataclasses.replace(
        params_for(tmp_path, "edsr"),
        adversarial=dataclasses.replace(Params().adversarial, loss="vanilla", content="pixel"),
    )
    assert params.task == "edsr-gan-x2-bicubic"
    with pytest.raises(CheckpointError) as caught:
        start.find(params)
    assert str(caught.value).startswith(f"train.start: edsr means the model in {tmp_path}/data/models/edsr-x2-bicubic,")
    assert "train it first: python -m flows.train edsr, or" in str(caught.value)
    directory = write_model(tmp_path / "data" / "models" / "edsr-x2-bicubic")
    assert start.find(params) == start.Start(given="edsr", path=directory, sha256=read_card(directory).weights_sha256)


@pytest.mark.parametrize("given", ["edsr", "{data}/models/edsr-x2-bicubic"])
def test_a_run_does_not_begin_with_what_it_publishes(tmp_path, given):
    with pytest.raises(ConfigError, match=r"^train\.start: .* is what this run will publish in .*edsr-x2-bicubic;"):
        start.find(params_for(tmp_path, given.format(data=tmp_path / "data")))


def test_a_gans_generator_begins_with_the_network_it_is(tmp_path):
    options = {"num_blocks": 1, "num_features": 4}
    parent = write_model(tmp_path / "data" / "models" / "srresnet-x2-bicubic", name="srresnet", **options)
    params = params_for(tmp_path, "srresnet")
    params = dataclasses.replace(params, model=ModelParams(name="srgan", options=options))
    network, said = begun(params)
    theirs = start.load_model(parent).network.state_dict()
    assert any("running_mean" in name for name in theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    assert f"begins with {parent} (srresnet x2, " in said
    edsr = dataclasses.replace(params_for(tmp_path, "srresnet"), model=ModelParams(name="edsr", options=options))
    assert "they are other networks, " in refused(edsr)


def test_a_weight_file_and_a_run_directory_will_do(job, tmp_path):
    parent = write_model(tmp_path / "parent")
    export_model(parent, tmp_path / "weights.safetensors")
    own, _ = begun(params_for(tmp_path, parent))
    network, said = begun(params_for(tmp_path, tmp_path / "weights.safetensors"))
    assert all(torch.equal(tensor, own.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert f"begins with {tmp_path}/weights.safetensors (edsr x2, " in said
    run_dir = training.go(job[0], job[1], tmp_path / "run").run_dir
    child = child_of(job, run_dir, lr=1e-4)
    network, _ = begun(child)
    best = start.load_model(run_dir).network.state_dict()
    assert all(torch.equal(tensor, best[name]) for name, tensor in network.state_dict().items())


def test_the_registry_is_for_flows(tmp_path):
    with pytest.raises(ConfigError, match=r"^train\.start: models:/sr-edsr-x4-bicubic@champion is in MLflow"):
        start.find(params_for(tmp_path, "models:/sr-edsr-x4-bicubic@champion"))


def test_a_path_that_leads_nowhere_is_answered_with_the_nearest_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"no file or folder edsrr; did you mean edsr\?"):
        start.find(params_for(tmp_path, "edsrr"))
    with pytest.raises(CheckpointError, match=r"no file or folder bicubic; expected one that holds"):
        start.find(params_for(tmp_path, "bicubic"))
    with pytest.raises(CheckpointError, match=r"no file or folder /nowhere/weights\.pt; expected one that holds"):
        start.find(params_for(tmp_path, "/nowhere/weights.pt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty/card\.json: missing; expected a model directory"):
        start.find(params_for(tmp_path, "empty"))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Parameters and data of a job of seconds."""
    return training.made(tmp_path_factory.mktemp("job"))


def child_of(job: tuple[Params, Dataset], parent: Path, **train) -> Params:
    return training.with_train(job[0], start=str(parent), **train)


def test_training_begins_with_them_and_so_does_their_average(job, tmp_path):
    params = child_of(job, write_model(tmp_path / "parent"), lr=1e-12, steps=1)
    said = Said()
    training.go(params, job[1], tmp_path / "run", progress=said)
    assert any("begins with" in line for line in said.lines)
    tensors = run.checkpoint.load_tensors(run.checkpoint.newest(tmp_path / "run" / "checkpoints").path)
    for name, tensor in start.load_model(tmp_path / "parent").network.state_dict().items():
        torch.testing.assert_close(tensors[f"network/{name}"], tensor, rtol=0, atol=1e-9)
        torch.testing.assert_close(tensors[f"ema/{name}"], tensor, rtol=0, atol=1e-9)


def test_the_weights_and_not_their_place_tell_one_run_from_another(job, tmp_path):
    params, dataset = job
    parent, other = write_model(tmp_path / "parent"), write_model(tmp_path / "other", seed=6)
    shutil.copytree(parent, tmp_path / "copy")
    places = [run.run_directory(child_of(job, path), dataset.digest) for path in (parent, tmp_path / "copy", other)]
    assert places[0] == places[1]
    assert len({*places, run.run_directory(params, dataset.digest)}) == 3


def test_a_run_goes_on_with_its_own_parent_only(job, tmp_path):
    run_dir, digest = tmp_path / "run", job[1].digest
    child = child_of(job, write_model(tmp_path / "parent"))
    sha256 = run.check_identity(run_dir, child, digest)
    assert json.loads((run_dir / run.PARAMS).read_text())["start"] == {
        "given": str(tmp_path / "parent"),
        "sha256": sha256,
    }
    assert run.check_identity(run_dir, child, digest) == sha256
    write_model(tmp_path / "parent", seed=6)
    with pytest.raises(CheckpointError, match=rf"run: was started with weights {sha256[:8]}, .* are now \w{{8}};"):
        run.check_identity(run_dir, child, digest)
    with pytest.raises(CheckpointError, match=rf"run: was started with weights {sha256[:8]}, .* are now none;"):
        run.check_identity(run_dir, job[0], digest)


def test_a_run_whose_parent_is_gone_goes_on_to_the_same_weights(job, tmp_path):
    dataset = job[1]
    whole = child_of(job, write_model(tmp_path / "parent"))
    training.go(whole, dataset, tmp_path / "whole")
    run_dir = run.run_directory(whole, dataset.digest)
    stops = iter([False] * 5 + [True])
    assert training.go(whole, dataset, run_dir, should_stop=lambda: next(stops)).stopped
    shutil.rmtree(tmp_path / "parent")
    assert run.run_directory(whole, dataset.digest) == run_dir
    training.go(whole, dataset, run_dir)
    assert training.digest(run_dir) == training.digest(tmp_path / "whole")
    # another of the same place, of which nobody knows any more which one is meant
    copy = run_dir.with_name(f"{whole.task}-00000000")
    shutil.copytree(run_dir, copy)
    with pytest.raises(CheckpointError, match="no file or folder"):
        run.run_directory(whole, dataset.digest)
