"""`--run DIR`, and what a run refuses to go on with: other parameters, other data, ranks that hold other shards."""

import dataclasses
import json

import pytest
import yaml
from training import STEPS, asked_at, go, made, with_train

from sr_core.__main__ import main
from sr_core.config import to_dict
from sr_core.errors import CheckpointError, ConfigError, ShardError
from sr_core.launch_params import LaunchParams, TrackParams
from sr_core.params import MAY_CHANGE, ModelParams
from sr_core.train import checkpoint, run
from sr_core.train.loop import train
from sr_core.world import World


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return made(tmp_path_factory.mktemp("data"))


@pytest.fixture
def begun(job, tmp_path):
    """A run directory that no parameters name."""
    go(*job, tmp_path / "run", should_stop=asked_at(1))
    return tmp_path / "run"


@pytest.fixture
def command(job, tmp_path):
    """A function that trains as the command line does."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(to_dict(job[0])))
    return lambda *given: main(["train", "--params", str(tmp_path / "params.yaml"), *map(str, given)])


def test_it_goes_on_in_the_directory_that_is_given(job, begun, command, capsys):
    assert command("--run", begun, "--set", "train.log_every=5", "--set", "launch.num_workers=7") == 0
    assert checkpoint.newest(begun / "checkpoints").manifest.step == STEPS
    assert f"(run {begun})" in capsys.readouterr().out
    assert json.loads((run.model_directory(job[0]) / "card.json").read_text())["run"] == "run"
    assert run.run_directories(job[0]) == []


def test_other_parameters_are_refused_before_their_data_are_looked_for(begun, command, capsys):
    assert command("--run", begun, "--set", "data.scale=3") == 5
    assert f"train: {begun}: was started with data.scale 2, now it is 3; start another run\n" == capsys.readouterr().err


def test_what_is_no_run_directory_is_refused(tmp_path, command, capsys):
    assert command("--run", tmp_path / "elsewhere") == 2
    said = capsys.readouterr().err
    assert "elsewhere: is no run directory, expected one that holds params.json, such as " in said
    assert not (tmp_path / "elsewhere").exists()


def test_each_key_that_may_change_may(job, begun):
    params, _ = job
    others = {"collective_timeout_s": 7.0}
    for key in MAY_CHANGE:
        changed = with_train(params, **{key: others.get(key, getattr(params.train, key) + 1)})
        assert run.given_directory(changed, begun) == begun
    changed = dataclasses.replace(params, launch=LaunchParams(num_workers=9), track=TrackParams(experiment="other"))
    assert run.given_directory(changed, begun) == begun


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda params: with_train(params, batch=8, lr=1.0), "train.batch 4, now it is 8"),
        (lambda params: dataclasses.replace(params, seed=2), "seed 1, now it is 2"),
        (
            lambda params: dataclasses.replace(params, model=ModelParams(options={"num_features": 8})),
            "model.options.num_blocks 1, now it is None",
        ),
    ],
)
def test_the_first_key_that_differs_is_named(job, begun, change, said):
    with pytest.raises(CheckpointError, match=f"was started with {said}; start another run"):
        run.given_directory(change(job[0]), begun)


def test_a_discriminator_that_was_not_there_is_named(job, begun):
    params, _ = job
    adversarial = dataclasses.replace(params.adversarial, loss="vanilla")
    with pytest.raises(CheckpointError, match=r"was started with adversarial\.loss 'none', now it is 'vanilla'"):
        run.given_directory(dataclasses.replace(params, adversarial=adversarial), begun)


def test_other_data_are_refused_naming_both_and_the_key_that_made_them(job, begun):
    params, dataset = job
    with pytest.raises(CheckpointError, match=rf"on data {dataset.digest[:8]}, the shards are now 01234567; start"):
        run.check_identity(begun, params, "0123456789")
    other = dataclasses.replace(params, data=dataclasses.replace(params.data, variants=2, root="elsewhere"))
    with pytest.raises(CheckpointError, match=r"are now 01234567 \(data\.variants was 1, now it is 2\); start another"):
        run.check_identity(begun, other, "0123456789")


class TwoHosts(World):
    """In place of a world of two: the other rank says what it is told to."""

    def gathered(self, value):
        return [("head", "a" * 64), (value[0], value[1])]


def test_ranks_with_other_shards_than_rank_0s_are_refused(job, tmp_path, monkeypatch):
    monkeypatch.setattr(run.socket, "gethostname", lambda: "worker-7")
    params, dataset = job
    expected = rf"rank 1 on host worker-7: holds data {dataset.digest[:8]}, and rank 0 on host head holds data aaaaaaaa"
    with pytest.raises(ShardError, match=expected):
        train(params, TwoHosts(), tmp_path, dataset=dataset)


def test_a_damaged_record_is_named(job, begun):
    (begun / run.PARAMS).write_text("{")
    with pytest.raises(CheckpointError, match=r"params\.json: is damaged \(JSONDecodeError\)"):
        run.given_directory(job[0], begun)


def test_nothing_is_asked_of_a_remote_runs_directory_before_it_is_brought(job, tmp_path):
    storage = dataclasses.replace(job[0].storage, remote="s3://bucket/runs")
    assert run.given_directory(dataclasses.replace(job[0], storage=storage), tmp_path / "r") == tmp_path / "r"
    with pytest.raises(ConfigError):
        run.given_directory(job[0], tmp_path / "r")
