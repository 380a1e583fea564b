"""Recording in DVC what a flow did outside of it."""

import dataclasses
import subprocess
import sys
import time

import made
import pytest
from dvc_project import DvcProject

from flows import versions
from flows.versions import data_version, record, stages_of
from sr_core import config
from sr_core.data.index import VERSION, ShardIndex, load_index, shard_directories, write_index
from sr_core.errors import ConfigError, ShardError
from sr_core.files import FileRecord

TASK = "edsr-x4-bicubic"
STEPS_BUT_PREPARE = ("train", "evaluate", "register")
STAGES = ["photographs", "prepare@bicubic", "train@edsr-bicubic", "evaluate@edsr-bicubic", "register@edsr-bicubic"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    project = DvcProject(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture
def idle(tmp_path, monkeypatch):
    """A project in which dvc must not be called."""
    project = DvcProject(tmp_path / "project")
    monkeypatch.setattr(versions, "_run", lambda *_, **__: pytest.fail("dvc was called"))
    return project


def work_by_hand(project: DvcProject) -> None:
    """All flows once, outside of DVC."""
    project.flow("flows.prepare", "--set", "data.degradation=bicubic")
    for step in ("train", "evaluate", "register"):
        project.flow("flows.train", "edsr", "--set", "data.degradation=bicubic", "--only", step)
    project.flow("flows.compare")
    project.ran()


def test_what_was_done_by_hand_is_not_done_again(project):
    work_by_hand(project)
    params = config.load("params.yaml")
    assert record("params.yaml", params) == f"recorded in dvc.lock: {', '.join(STAGES)}"
    assert record("params.yaml", params, ["compare"]) == "recorded in dvc.lock: compare"
    assert project.is_clean()
    assert project.repro() == []


def test_one_step_is_recorded_alone(project):
    project.flow("flows.prepare", "--set", "data.degradation=bicubic")
    assert record("params.yaml", config.load("params.yaml"), ["prepare"]).startswith(
        "recorded in dvc.lock: photographs"
    )
    project.ran()
    assert sorted(project.repro()) == sorted(["compare", *(f"{step} {TASK}" for step in STEPS_BUT_PREPARE)])


def test_params_from_elsewhere_count_by_their_content(project, tmp_path):
    (project.folder / "profiles").mkdir()
    same = project.folder / "profiles" / "sample.yaml"
    same.write_text((project.folder / "params.yaml").read_text())
    work_by_hand(project)
    wider = config.load(same, ["launch.num_workers=1", "data.num_writers=1", "data.downloads=9", "data.max_pixels=999"])
    assert record(same, wider).startswith("recorded")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.lr=0.5", "train.lr differs from params.yaml"),
        ("data.scale=2", "data.scale differs from params.yaml"),
        ("model.options={num_blocks: 2}", "model.options"),
        ("data.variants=2", "data.variants differs from params.yaml"),
        ("data.unknown.kernel_size=31", "data.unknown.kernel_size differs from params.yaml"),
        ("data.degradation=unknown", "matrix.degradations in params.yaml does not name unknown"),
        ("model.name=wdsr", "matrix.models in params.yaml does not name wdsr"),
    ],
)
def test_other_params_are_not_recorded(idle, override, reason):
    params = config.load(idle.folder / "params.yaml", [override])
    said = record(idle.folder / "params.yaml", params)
    assert said.startswith("not recorded in DVC: ")
    assert reason in said


FINE_TUNE = "{model: srgan, start: srresnet}"


def test_a_networks_recipe_is_no_difference(idle):
    path = idle.folder / "params.yaml"
    own = "matrix.models=[edsr, wdsr_a, srresnet]"
    idle.set("matrix.models", ["edsr", "wdsr_a", "srresnet"])
    for name in ("edsr", "wdsr_a", "srresnet"):
        params = config.load(path, [f"model.name={name}", own])
        assert versions._obstacle(params, idle.folder) is None
    params = config.load(path, ["model.name=wdsr_a", "recipes.wdsr_a.train.lr=7"])
    assert record(path, params) == "not recorded in DVC: train.lr differs from params.yaml"


def test_a_fine_tune_has_stages_where_the_matrix_says_what_it_begins_with(idle, monkeypatch):
    path = idle.folder / "params.yaml"
    load = ["model.name=srgan", "recipes.srgan.train.start=srresnet"]
    said = record(path, config.load(path, load))
    assert said == f"not recorded in DVC: matrix.adversarial in params.yaml does not name {FINE_TUNE}"
    idle.set("matrix.adversarial", [{"model": "esrgan", "start": "rrdb"}, {"model": "srgan", "start": "srresnet"}])
    params = config.load(path, load)
    assert versions._obstacle(params, idle.folder) is None
    names = [f"{stage}@gan1-bicubic" for stage in ("finetune", "evaluate-gan", "register-gan")]
    assert stages_of(params, STEPS_BUT_PREPARE) == names
    assert set(names) <= set(idle.dvc("stage", "list", "--name-only").split())
    monkeypatch.setenv("DVC_STAGE", names[0])
    versions.check_stage(params)
    monkeypatch.setenv("DVC_STAGE", "train@srgan-bicubic")
    with pytest.raises(ConfigError, match=r"^train\.start: srgan begins with srresnet, so train@srgan"):
        versions.check_stage(params)
    monkeypatch.setenv("DVC_STAGE", names[0])
    with pytest.raises(ConfigError, match=r"^train\.start: srgan begins with edsr, so finetune@gan1"):
        versions.check_stage(config.load(path, [*load, "train.start=edsr"]))


def test_own_photographs_are_not_recorded(idle, tmp_path):
    params = config.load(idle.folder / "params.yaml", ["data.source=folder", f"data.folder={tmp_path}"])
    assert "data.source: folder" in record(idle.folder / "params.yaml", params)


def test_a_mixture_is_recorded_with_its_tracks(project):
    project.set("matrix.degradations", ["bicubic", "unknown", "mixed"])
    project.flow("flows.prepare", "--set", "data.degradation=mixed")
    params = config.load("params.yaml", ["data.degradation=mixed"])
    prepared = ["photographs", "prepare@bicubic", "prepare@unknown", "prepare@mixed"]
    assert record("params.yaml", params, ["prepare"]) == f"recorded in dvc.lock: {', '.join(prepared)}"
    project.ran()
    assert not [line for line in project.repro() if line.startswith("prepare")]


def test_a_mixture_of_tracks_without_a_stage_is_refused(project, monkeypatch):
    project.set("matrix.degradations", ["bicubic", "mixed"])
    params = config.load("params.yaml", ["data.degradation=mixed"])
    said = record("params.yaml", params, ["prepare"])
    assert said.startswith("not recorded in DVC: matrix.degradations: lacks unknown, of data.mixed")
    monkeypatch.setenv("DVC_STAGE", "prepare@mixed")
    with pytest.raises(ConfigError, match=r"^matrix\.degradations: lacks unknown, of data\.mixed, .* add it in params"):
        versions.check_stage(params)


def test_inside_a_stage_recording_is_left_to_dvc(idle, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train@edsr-bicubic")
    path = idle.folder / "params.yaml"
    assert record(path, config.load(path)) == "recorded by DVC, as stage train@edsr-bicubic"


def test_a_stage_with_own_photographs_fails_in_one_sentence(idle, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "photographs")
    params = config.load(idle.folder / "params.yaml", ["data.source=folder", f"data.folder={tmp_path}"])
    with pytest.raises(ConfigError, match=r"^data\.source: is folder, .* outside of dvc\.yaml; start the flow itself"):
        versions.check_stage(params)


def test_without_dvc_it_says_what_to_install(idle, monkeypatch):
    monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: None)
    path = idle.folder / "params.yaml"
    assert "pip install" in record(path, config.load(path))


def test_outside_of_a_project_it_says_so(tmp_path, project):
    params = config.load("params.yaml")
    assert record(tmp_path / "params.yaml", params) == f"not recorded in DVC: no dvc.yaml above {tmp_path}/params.yaml"
    (project.folder / ".dvc").rename(tmp_path / "away")
    assert "is not a DVC project" in record("params.yaml", params)


def test_what_dvc_refuses_is_one_sentence_and_no_failure(project):
    said = record("params.yaml", config.load("params.yaml"), ["train"])
    assert said.startswith("not recorded in DVC: ")
    assert said.endswith("record it later with: dvc commit --force train@edsr-bicubic")
    assert "\n" not in said


def test_a_busy_dvc_is_no_failure(project):
    work_by_hand(project)
    hold = "import time; from dvc.repo import Repo\nwith Repo('.').lock: print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            said = record("params.yaml", config.load("params.yaml"))
        finally:
            holder.kill()
    assert said.startswith("not recorded in DVC: ")
    assert "\n" not in said


def test_a_child_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    begun_s = time.monotonic()
    status, said = versions._run([sys.executable, "-c", code], tmp_path, timeout_s=1.0)
    assert (status, said) == (1, "it took longer than 1 s")
    assert time.monotonic() - begun_s < 10  # `sleep` held the pipe: were it alive, this would wait for it


def write_indexes(params: config.Params) -> None:
    """Finished shards, as far as their indexes say."""
    for name, directory in shard_directories(params.data).items():
        split, _, track = name.partition("/")
        index = ShardIndex(
            version=VERSION,
            scale=4,
            split=split,
            track=track,
            kind="patches",
            patch=192,
            crop=48,
            count=1,
            stored_per_raw=1.0,
            keys=("photograph",),
            source_digest="a" * 64,
            hr_digest="a" * 64,
            files={"shard-00000.npy": FileRecord(bytes=1, sha256="b" * 64)},
        )
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "index.json").unlink(missing_ok=True)
        write_index(directory, index)


def test_the_data_version_is_ours_and_dvcs(project):
    params = config.load("params.yaml")
    with pytest.raises(ShardError, match="holds no finished shards"):
        data_version(params)
    project.flow("flows.prepare", "--set", "data.degradation=bicubic")
    write_indexes(params)
    before = data_version(params)
    assert len(before.digest) == 64
    assert before.dvc == {}
    record("params.yaml", params, ["prepare"])
    after = data_version(params)
    assert after.digest == before.digest
    assert set(after.dvc) == {"train/hr", "train/bicubic", "valid/hr", "valid/bicubic"}
    assert all(md5.endswith(".dir") for md5 in after.dvc.values())
    # what was built since is not what dvc.lock says
    directory = project.folder / "data/shards/sample/x4/train/bicubic"
    changed = dataclasses.replace(load_index(directory), count=2)
    (directory / "index.json").unlink()
    write_index(directory, changed)
    assert set(data_version(params).dvc) == {"train/hr", "valid/hr", "valid/bicubic"}


def test_stages_are_named_as_in_dvc_yaml(project):
    params = made.params(project.folder)
    assert stages_of(params, versions.STEPS) == STAGES
    assert project.dvc("stage", "list", "--name-only").split() == [*STAGES, "compare"]
    assert stages_of(params, ["compare"]) == ["compare"]
