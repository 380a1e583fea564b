"""What a user of the deployments does, with a real server, a real worker, and a worker of Ray that dies."""

import json
import os
import signal

import pytest
from processes import wait_until

from sr_core.train import checkpoint

pytestmark = pytest.mark.timeout(300)
TASK = "edsr-x2-bicubic"


def ray_workers(deployed):
    return [pid for pid, line in deployed.running().items() if line.startswith("ray::RayTrainWorker")]


def test_by_its_bare_name_a_run_completes_though_ray_loses_a_worker(deployed):
    before, data = deployed.run_dirs(), deployed.folder / "data"
    run = deployed.run("train-edsr")

    def saved():
        return [one for one in deployed.run_dirs() - before if checkpoint.newest(one / "checkpoints").path]

    wait_until(saved, 150, "a checkpoint")
    os.kill(ray_workers(deployed)[0], signal.SIGKILL)
    wait_until(lambda: deployed.state(run) not in {"Pending", "Running"}, 150, "the run to end")
    assert deployed.state(run) == "Completed", deployed.log(run)
    log = deployed.log_with(run, "a worker was lost or has come: Ray started a group of 2", "goes on from")
    assert "Traceback" not in log
    assert (data / "models" / TASK / "weights.safetensors").exists()
    assert (data / "reports" / TASK / "comparison.png").exists()
    registered = json.loads((data / "registered" / f"{TASK}.json").read_text())
    assert (registered["name"], registered["version"], registered["champion"]) == (f"sr-{TASK}", 1, True)
    found = deployed.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
    artifacts = {one["key"]: one for one in found}
    assert set(artifacts) == {f"report-{TASK}", f"progress-{TASK}", f"training-{TASK}"}
    assert {row["model"] for row in json.loads(artifacts[f"report-{TASK}"]["data"])} == {"bicubic", "edsr"}
    assert float(artifacts[f"progress-{TASK}"]["data"]) == 100.0
    assert "of 300" in artifacts[f"training-{TASK}"]["data"]


def test_models_are_compared_and_the_pages_of_it_show_table_and_picture(deployed):
    images = {"images": ["photographs"], "degradations": ["bicubic"]}
    run = deployed.run("compare-models", "compare.rounds=1", models=["lanczos", "nearest"], name="Two_models", **images)
    wait_until(lambda: deployed.state(run) in {"Completed", "Failed", "Crashed"}, 150, "the run to end")
    assert deployed.state(run) == "Completed", deployed.log(run)
    deployed.log_with(run, "in the experiment super-resolution")
    assert (deployed.folder / "data" / "compare" / "Two_models" / "index.html").exists()
    found = deployed.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
    artifacts = {one["key"]: one["data"] for one in found}
    assert set(artifacts) == {"comparison-two-models", "comparison-two-models-page"}
    assert [row["model"] for row in json.loads(artifacts["comparison-two-models"])] == ["bicubic", "lanczos", "nearest"]
    page = artifacts["comparison-two-models-page"]
    assert "| lanczos | " in page
    assert page.count("](data:image/webp;base64,") == 2


def test_every_deployment_runs_in_the_folder_it_was_deployed_from(deployed):
    found = {one["name"]: one for one in deployed.ask("deployments/filter")}
    trains = {f"train-{name}" for name in ("srcnn", "edsr", "wdsr", "srresnet", "srgan", "esrgan")}
    assert set(found) == {"prepare-data", "compare-models", *trains}
    assert found["train-wdsr"]["parameters"]["variant"] == "a"
    for one in found.values():
        (step,) = one["pull_steps"]
        assert step["prefect.deployments.steps.set_working_directory"]["directory"] == str(deployed.folder)
        assert one["global_concurrency_limit"]["limit"] == 1
        assert [schedule["active"] for schedule in one["schedules"]] == [False]


def test_a_mistake_fails_the_run_with_one_sentence(deployed):
    run = deployed.run("prepare-data", "data.crpo=8")
    wait_until(lambda: deployed.state(run) == "Failed", 60, "the run to fail")
    assert "Traceback" not in deployed.log_with(run, "data.crpo: no such key; did you mean crop?")
