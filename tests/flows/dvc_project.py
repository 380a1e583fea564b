"""A copy of the project's DVC side, with stand-ins for the flows: they leave the same files, in no time.

What is tested with it is dvc.yaml: which stage owns what, and what runs again after which change. That the real flows
leave these files is tested with the real flows (test_dvc_end_to_end.py).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

PREPARE = """
import json, pathlib, sys
import yaml

given = dict(argument.split("=") for argument in sys.argv[1:] if "=" in argument)
data = yaml.safe_load(open("params.yaml"))["data"]
degradation = given["data.degradation"]
root = pathlib.Path(data["root"])

def put(path, text):
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # what DVC has is read-only, and linked with its cache
    path.write_text(text)

for split in ("train", "valid"):
    photograph = root / "raw" / data["source"] / f"DIV2K_{split}_HR" / "photograph.png"
    if not photograph.exists():
        put(photograph, "pixels")
# a mixture has the shards of its tracks made as well, and itself holds but an index
tracks = [*data["mixed"], "mixed"] if degradation == "mixed" else [degradation]
made = {"unknown": data["unknown"], "second_order": data["second_order"], "mixed": data["mixed"]}
for split in ("train", "valid"):
    for track in ("hr", *tracks):
        shards = root / "shards" / data["source"] / f"x{data['scale']}" / split / track
        if track != "mixed":
            put(shards / "shard-00000.npy", f"{split} {track} {data['crop']} {made.get(track)}")
        put(shards / "index.json", json.dumps({"crop": data["crop"], "made": made.get(track)}))
(root / ".locks").mkdir(exist_ok=True)
(root / ".locks" / "shards").write_text(str(id(root)))
with open("ran.log", "a") as log:
    log.write(f"prepare {degradation}\\n")
"""

TRAIN = """
import hashlib, json, pathlib, sys
import yaml

model, *_, step = sys.argv[1:]
given = dict(argument.split("=") for argument in sys.argv[1:] if "=" in argument)
params = yaml.safe_load(open("params.yaml"))
data = params["data"]
task = f"{model}-x{data['scale']}-{given['data.degradation']}"
root = pathlib.Path(data["root"])
run_dir = root / "runs" / task
models, reports = root / "models" / task, root / "reports" / task

def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)

if step == "train":
    put(run_dir / "metrics.jsonl", "lines")
    start = next((entry["start"] for entry in params["matrix"]["adversarial"] if entry["model"] == model), None)
    parent = start and (root / "models" / task.replace(model, start) / "weights.safetensors").read_text()
    weights = json.dumps([task, params["train"], params["recipes"].get(model), parent], sort_keys=True)
    put(models / "weights.safetensors", weights)
    put(models / "card.json", "{}")
    put(models / "training.json", json.dumps([{"step": i, "loss": 1 / (i + 1)} for i in range(5)]))
    put(models / "validation.json", json.dumps([{"step": i, "psnr": 27 + i} for i in range(2)]))
elif step == "evaluate":
    weights = (models / "weights.safetensors").read_bytes()
    psnr = 28 + hashlib.md5(weights).digest()[0] / 256
    put(reports / "report.json", json.dumps({"psnr": psnr}))
    put(reports / "metrics.json", json.dumps({"mean_psnr": psnr, "mean_ssim": 0.8}))
    put(reports / "photograph.png", "a picture")
    (reports / "comparison.png").unlink(missing_ok=True)
    from PIL import Image
    Image.new("RGB", (4, 4)).save(reports / "comparison.png")
elif step == "register":
    put(root / "registered" / f"{task}.json", json.dumps({"name": f"sr-{task}", "version": 1}))
with open("ran.log", "a") as log:
    log.write(f"{step} {task}\\n")
"""


COMPARE = """
import json, pathlib
import yaml

params = yaml.safe_load(open("params.yaml"))
root = pathlib.Path(params["data"]["root"])
weights = [path.read_text() for path in sorted(root.glob("models/*/weights.safetensors"))]
table = root / "compare" / params["compare"]["name"] / "compare.json"
table.parent.mkdir(parents=True, exist_ok=True)
table.unlink(missing_ok=True)
table.write_text(json.dumps(weights) + pathlib.Path("/proc/uptime").read_text())  # times are never the same
with open("ran.log", "a") as log:
    log.write("compare\\n")
"""


class DvcProject:
    """The copy in `folder`, and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
        (folder / "flows").mkdir()
        (folder / "flows" / "__init__.py").touch()
        (folder / "flows" / "prepare.py").write_text(PREPARE)
        (folder / "flows" / "train.py").write_text(TRAIN)
        (folder / "flows" / "compare.py").write_text(COMPARE)
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "start")

    def run(self, *command: str) -> str:
        """The output of a command in the folder, which must succeed."""
        scripts = Path(sys.executable).parent
        # `python` in a stage is the one that runs DVC, as in an activated environment
        environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def repro(self) -> list[str]:
        """What `dvc repro` runs."""
        self.dvc("repro", "--quiet")
        return self.ran()

    def flow(self, *arguments: str) -> None:
        """Runs a stand-in as a user would, outside of DVC."""
        self.run(sys.executable, "-m", *arguments)

    def ran(self) -> list[str]:
        """What the stand-ins did since the last call."""
        log = self.folder / "ran.log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def set(self, dotted: str, value: object) -> None:
        """Changes a key of params.yaml."""
        path = self.folder / "params.yaml"
        tree = yaml.safe_load(path.read_text())
        *sections, key = dotted.split(".")
        section = tree
        for name in sections:
            section = section[name]
        section[key] = value
        path.write_text(yaml.safe_dump(tree))

    def is_clean(self) -> bool:
        return self.dvc("status").strip() == "Data and pipelines are up to date."
