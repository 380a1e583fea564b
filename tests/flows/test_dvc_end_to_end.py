"""dvc.yaml with the real flows, from a clone: the files that DVC expects are those that the flows leave."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.versions import STEPS, record
from sr_core import config

ROOT = Path(__file__).resolve().parents[2]
TASK = "edsr-x4-bicubic"
TINY = {
    "model": {"options": {"num_blocks": 1, "num_features": 8}},
    "train": {"steps": 20, "batch": 4, "lr_milestones": [10], "log_every": 5, "eval_every": 10, "checkpoint_every": 10},
    "launch": {"num_workers": 1},
}


class Clone:
    """A clone in `folder` with parameters for seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
        for name in (
            subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True).stdout.decode().split("\0")
        ):
            if name and (ROOT / name).is_file():  # what is not committed yet is tested too
                shutil.copyfile(ROOT / name, folder / name)
        params = yaml.safe_load((folder / "params.yaml").read_text())
        for section, values in TINY.items():
            params[section] |= values
        self.write(params)

    def write(self, params: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def set(self, section: str, key: str, value: object) -> None:
        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        params[section][key] = value
        self.write(params)

    def run(self, *command: str) -> str:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return done.stdout

    def repro(self, *stages: str) -> list[str]:
        """The stages that `dvc repro` runs."""
        lines = self.run("dvc", "repro", *stages).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def runs(self, model: str) -> list[dict]:
        """What each run of the network was started with."""
        return [json.loads(path.read_text()) for path in self.folder.glob(f"data/runs/{model}-*/params.json")]

    def read(self, name: str) -> dict:
        return json.loads((self.folder / "data" / name).read_text())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_a_clone_to_a_registered_model_and_again(tmp_path):
    clone = Clone(tmp_path / "clone")
    stages = ["photographs", "prepare@bicubic", *(f"{step}@edsr-bicubic" for step in STEPS[1:]), "compare"]
    assert clone.repro() == stages
    assert clone.repro() == []
    first = clone.read(f"registered/{TASK}.json")
    tags = "import mlflow; print(mlflow.MlflowClient().get_model_version('sr-edsr-x4-bicubic', '1').tags)"
    assert "'sr.dvc.train/hr': '" in clone.run("python", "-W", "ignore", "-c", tags)
    assert (first["name"], first["version"], first["champion"]) == (f"sr-{TASK}", 1, True)
    assert "mean_psnr" in clone.run("dvc", "metrics", "show")
    clone.run("dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    assert "training loss" in page
    assert "validation PSNR" in page

    clone.set("train", "lr", 1e-6)
    assert clone.repro() == stages[2:]
    second = clone.read(f"registered/{TASK}.json")
    assert second["version"] == 2
    assert second["run_id"] != first["run_id"]

    clone.set("train", "lr", 0.003)
    clone.run("python", "-m", "flows.train", "edsr")
    assert "up to date" in clone.run("dvc", "status", *stages[:-1])
    assert "recorded in dvc.lock: compare" in clone.run("python", "-m", "flows.compare")
    assert "up to date" in clone.run("dvc", "status")
    params = config.load(clone.folder / "params.yaml")
    assert record(clone.folder / "params.yaml", params).startswith("recorded")
    assert clone.repro() == []

    load = "import mlflow; print(mlflow.pyfunc.load_model('models:/sr-edsr-x4-bicubic@champion').metadata.run_id)"
    outcomes = (first, second, clone.read(f"registered/{TASK}.json"))
    champion = [outcome["run_id"] for outcome in outcomes if outcome["champion"]][-1]
    assert clone.run("python", "-W", "ignore", "-c", load).strip() == champion


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_fine_tune_follows_its_parent(tmp_path):
    clone = Clone(tmp_path / "clone")
    clone.set("matrix", "models", ["srresnet"])
    clone.set("matrix", "adversarial", [{"model": "srgan", "start": "srresnet"}])
    params = yaml.safe_load((clone.folder / "params.yaml").read_text())
    for name, steps in (("srresnet", 4), ("srgan", 6)):
        recipe = params["recipes"][name]
        recipe["model"]["options"] = {"num_blocks": 1, "num_features": 4}
        recipe["train"] |= {"steps": steps, "batch": 4, "lr_milestones": []}
    clone.write(params)
    stages = [f"{step}@srresnet-bicubic" for step in STEPS[1:]]
    gan = [f"{step}@gan0-bicubic" for step in ("finetune", "evaluate-gan", "register-gan")]
    ran = clone.repro()
    assert sorted(ran) == sorted(["photographs", "prepare@bicubic", *stages, *gan, "compare"])
    assert ran.index(stages[0]) < ran.index(gan[0])
    assert clone.repro() == []
    assert clone.read("registered/srgan-x4-bicubic.json")["version"] == 1
    begun = [run["start"]["sha256"] for run in clone.runs("srgan")]
    assert begun == [clone.read("models/srresnet-x4-bicubic/card.json")["weights_sha256"]]

    said = clone.run("python", "-m", "flows.train", "srgan", "--only", "train")
    assert f"recorded in dvc.lock: {gan[0]}" in said
    params["recipes"]["srresnet"]["train"]["lr"] = 1e-5
    clone.write(params)
    assert {stages[0], gan[0]} <= set(clone.repro())
    assert len(clone.runs("srgan")) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_mixture_and_its_tracks_are_prepared_each_by_its_stage(tmp_path):
    clone = Clone(tmp_path / "clone")
    clone.set("matrix", "degradations", ["bicubic", "unknown", "mixed"])
    prepared = {"photographs", "prepare@bicubic", "prepare@unknown", "prepare@mixed"}
    assert set(clone.repro("prepare")) == prepared
    assert "up to date" in clone.run("dvc", "status", *prepared)

    clone.set("data", "mixed", {"bicubic": 1.0, "unknown": 3.0})
    said = clone.run("python", "-m", "flows.prepare", "--set", "data.degradation=mixed")
    assert "recorded in dvc.lock: photographs, prepare@bicubic, prepare@unknown, prepare@mixed" in said
    assert "starting Ray" not in said  # other weights write an index and no shard
    assert "up to date" in clone.run("dvc", "status", *prepared)
