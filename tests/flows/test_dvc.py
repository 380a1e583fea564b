"""dvc.yaml: what runs, what runs again, and who owns what."""

import shutil

import pytest
from dvc_project import ROOT, DvcProject

TASK = "edsr-x4-bicubic"
NAMES = ("srresnet", "edsr", "srgan")
WHOLE = ["prepare bicubic", "prepare bicubic", f"train {TASK}", f"evaluate {TASK}", f"register {TASK}", "compare"]


@pytest.fixture
def project(tmp_path):
    return DvcProject(tmp_path / "project")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project after its first `dvc repro`; tests leave it as it is."""
    project = DvcProject(tmp_path_factory.mktemp("dvc") / "project")
    assert project.repro() == WHOLE
    return project


def test_a_second_repro_does_nothing(finished):
    assert finished.repro() == []
    assert finished.is_clean()


def test_what_a_stage_made_is_in_the_cache_once(finished):
    weights = finished.folder / "data" / "models" / TASK / "weights.safetensors"
    hr = finished.folder / "data" / "shards" / "sample" / "x4" / "train" / "hr" / "shard-00000.npy"
    for path in (weights, hr):
        assert path.is_symlink() or path.stat().st_nlink > 1
    cached = [path.read_bytes() for path in (finished.folder / ".dvc" / "cache").rglob("*") if path.is_file()]
    assert weights.read_bytes() in cached
    assert b"pixels" not in cached  # raw photographs are hashed only


def test_git_sees_the_lock_and_nothing_else(finished):
    assert finished.git("status", "--porcelain").split() == ["??", "dvc.lock"]


def test_metrics_and_plots_are_shown(finished, tmp_path):
    shown = finished.dvc("metrics", "show", "--md")
    assert f"data/reports/{TASK}/metrics.json" in shown
    assert "mean_psnr" in shown
    finished.dvc("plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert "edsr x4 bicubic: training loss" in page
    assert "edsr x4 bicubic: validation PSNR, dB" in page
    assert [path.name for path in tmp_path.rglob("*.png")] == [f"workspace_data_reports_{TASK}_comparison.png"]


def test_a_clone_is_filled_from_the_cache(finished, tmp_path):
    finished.git("clone", "--quiet", str(finished.folder), str(tmp_path / "clone"))
    clone = DvcProject.__new__(DvcProject)
    clone.folder = tmp_path / "clone"
    (clone.folder / "dvc.lock").write_text((finished.folder / "dvc.lock").read_text())
    clone.dvc("cache", "dir", "--local", str(finished.folder / ".dvc" / "cache"))
    clone.dvc("checkout", "--quiet", "--allow-missing")
    made = (finished.folder / "data" / "models" / TASK / "weights.safetensors").read_text()
    assert (clone.folder / "data" / "models" / TASK / "weights.safetensors").read_text() == made


def test_another_training_prepares_nothing(project):
    assert project.repro() == WHOLE
    project.set("train.lr", 0.00123)
    assert project.repro() == WHOLE[2:]
    project.set("evaluate.protocol", "div2k-rgb")
    assert project.repro()[:1] == WHOLE[3:4]  # the stand-in's figures do not change: then nothing is registered
    project.set("track.experiment", "another")
    assert project.repro() == WHOLE[4:5]
    project.set("compare.rounds", 3)
    assert project.repro() == WHOLE[5:]
    project.set("launch.num_workers", 1)
    assert project.repro() == []


def test_another_crop_prepares_anew_and_keeps_the_photographs(project):
    project.repro()
    photograph = project.folder / "data" / "raw" / "sample" / "DIV2K_train_HR" / "photograph.png"
    fetched = photograph.stat().st_ino
    project.set("data.crop", 40)
    assert project.repro()[:3] == WHOLE[:3]
    assert photograph.stat().st_ino == fetched


def test_another_degradation_is_prepared_and_trained_beside_the_first(project):
    project.repro()
    project.set("matrix.degradations", ["bicubic", "unknown"])
    other = "edsr-x4-unknown"
    steps = ["prepare unknown", f"train {other}", f"evaluate {other}", f"register {other}"]
    assert project.repro() == [*steps, "compare"]
    assert project.repro() == []


def test_a_fine_tune_follows_the_model_that_it_begins_with(project):
    project.set("matrix.models", ["srresnet", "edsr"])
    project.set("matrix.adversarial", [{"model": "srgan", "start": "srresnet"}])
    ran = project.repro()
    steps = {name: [f"{step} {name}-x4-bicubic" for step in ("train", "evaluate", "register")] for name in NAMES}
    assert set(ran) == {"prepare bicubic", "compare", *(step for own in steps.values() for step in own)}
    assert ran.index(steps["srresnet"][0]) < ran.index(steps["srgan"][0])
    project.set("recipes.srresnet.train.steps", 7)
    ran = project.repro()
    assert sorted(ran) == sorted([*steps["srresnet"], *steps["srgan"], "compare"])
    assert ran.index(steps["srresnet"][0]) < ran.index(steps["srgan"][0])
    project.set("recipes.srgan.train.steps", 7)
    assert project.repro() == [*steps["srgan"], "compare"]
    assert project.is_clean()


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A project whose matrix names a mixture and its tracks, after a `dvc repro`; each test leaves it so."""
    project = DvcProject(tmp_path_factory.mktemp("three") / "project")
    project.set("matrix.degradations", ["bicubic", "unknown", "mixed"])
    project.repro()
    assert project.is_clean()
    return project


def test_a_mixture_trains_anew_when_its_weights_or_tracks_change(three):
    three.set("data.mixed", {"bicubic": 1.0, "unknown": 3.0})
    mixed = [f"{step} edsr-x4-mixed" for step in ("train", "evaluate", "register")]
    ran = three.repro()
    assert [line for line in ran if "prepare" not in line][:1] == mixed[:1]
    assert not [line for line in ran if line.endswith(("x4-bicubic", "x4-unknown"))]
    three.set("data.unknown.kernel_size", 11)
    trained = {line for line in three.repro() if line.startswith("train")}
    assert trained == {"train edsr-x4-unknown"}  # the stand-in's mixture says nothing of its members' digests
    assert three.is_clean()


def test_what_only_says_how_to_fetch_prepares_nothing(three):
    for key, value in (("downloads", 1), ("keep_archives", True), ("num_writers", 5), ("max_pixels", 10**9)):
        three.set(f"data.{key}", value)
    assert three.repro() == []


def test_photographs_that_are_lost_are_fetched_again_and_nothing_else(three):
    shutil.rmtree(three.folder / "data" / "raw")
    assert three.repro() == ["prepare bicubic"]
    assert three.is_clean()


def test_no_stage_owns_a_run_directory(finished):
    lock = (finished.folder / "dvc.lock").read_text()
    assert (finished.folder / "data" / "runs" / TASK / "metrics.jsonl").exists()
    assert "data/runs" not in lock
    assert ".locks" not in lock


def test_the_projects_own_settings_send_nothing_and_copy_nothing():
    config = (ROOT / ".dvc" / "config").read_text()
    assert "analytics = false" in config
    assert "hardlink,symlink,copy" in config
