"""What a rank does with an error, a stop or a restart, and what the launcher makes of a driver that fails."""

import dataclasses
import os
import signal
import socket
from pathlib import Path

import made
import pytest
import ray.train
from deployed import write_project
from processes import MARK, alive

from flows import cluster, launch
from flows.launch_files import LaunchFiles
from sr_core import config, files
from sr_core.data import index, shards
from sr_core.errors import ConfigError, ShardError, SrError
from sr_core.launch_params import LaunchParams
from sr_core.progress import QUIET
from sr_core.train import lease, run

STEPS = 20


@pytest.fixture
def params(tmp_path, monkeypatch):
    """A job whose shards are there, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, steps=STEPS)
    loaded = config.load("params.yaml")
    shards.build(loaded.data, progress=QUIET)
    return loaded


@pytest.fixture
def launched(params, monkeypatch):
    """The files of a launch of that job, and a function that runs a rank of its own for it, in this process."""
    monkeypatch.setattr(ray.train, "report", lambda metrics: reported.append(metrics))
    for name in (files.LAUNCHER_PID, lease.LAUNCH):
        monkeypatch.setenv(name, "")  # restored after the rank has set it
    run_dir = run.current_directory(params)
    reported = []
    with LaunchFiles.make(run_dir) as launch_files:
        settings = {
            "params": config.to_dict(params),
            "directory": str(launch_files.directory),
            "launcher": {"host": socket.gethostname(), "pid": str(os.getpid())},
            "niceness": os.getpriority(os.PRIO_PROCESS, 0),
            "own": False,
            "post": launch_files,
        }
        yield launch_files, lambda: launch._rank(settings), reported


def damage(params):
    directory = index.shard_directories(params.data)["train/hr"]
    shard = next(directory.glob("*.npy"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.unlink()
    shard.write_bytes(data)


def test_a_rank_trains_and_leaves_the_result(launched):
    launch_files, rank, reported = launched
    rank()
    result = launch_files.read_result()
    assert (result["step"], result["stopped"]) == (STEPS, False)
    assert result["run_dir"] == str(launch_files.directory.parent)
    assert [metrics["step"] for metrics in reported] == [10, 20]  # at checkpoints, and never with one
    assert launch_files.verified_hosts() == [socket.gethostname()]
    shown = launch_files.progress.read_text()
    assert '"total": 20' in shown
    assert '"say": "step 20/20' in shown


def test_a_rank_leaves_an_error_instead_of_raising_it(launched, params):
    launch_files, rank, _ = launched
    damage(params)
    rank()
    with pytest.raises(ShardError, match="sha256"):
        launch_files.read_result()


def test_a_group_that_follows_an_error_returns_at_once(launched):
    launch_files, rank, reported = launched
    launch_files.write_failure("rank1", SrError("why"))
    rank()
    assert reported == []
    assert not launch_files.progress.exists()


def test_an_error_of_one_rank_alone_is_raised(launched, monkeypatch):
    """The others wait for it in a collective; only Ray can end them."""
    launch_files, _, _ = launched
    monkeypatch.setattr(launch, "AGREE_S", 0.1)
    launch_files.write_failure("rank0", SrError("why"))
    assert not launch._all_failed(launch_files, launch.World(size=2))
    launch_files.write_failure("rank1", SrError("why"))
    assert launch._all_failed(launch_files, launch.World(size=2))


def test_a_restarted_group_does_not_read_the_shards_again(launched, params):
    launch_files, rank, _ = launched
    launch_files.mark_verified(socket.gethostname())
    damage(params)  # nobody would see it
    rank()
    assert launch_files.read_result()["step"] == STEPS
    assert "a worker was lost" in launch_files.progress.read_text()


def test_asked_to_stop_a_rank_leaves_a_checkpoint(launched):
    launch_files, rank, _ = launched
    launch_files.stop.touch()
    rank()
    result = launch_files.read_result()
    assert (result["step"], result["stopped"]) == (1, True)
    assert (launch_files.directory.parent / "checkpoints" / "step-00000001" / "manifest.json").exists()


def test_workers_get_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = made.params(tmp_path, data={"root": "data", "source": "folder", "folder": "photographs"})
    absolute = given.data.with_absolute_paths()
    assert (absolute.root, absolute.folder) == (str(tmp_path / "data"), str(tmp_path / "photographs"))
    assert made.params(tmp_path).data.with_absolute_paths().folder is None


def test_workers_get_absolute_paths_of_weights_and_the_same_digest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adversarial = {"loss": "vanilla", "vgg_weights": "vgg.pth"}
    given = made.params(tmp_path, train={"start": "models/parent"}, adversarial=adversarial)
    absolute = launch.with_absolute_paths(given)
    assert absolute.train.start == str(tmp_path / "models" / "parent")
    assert absolute.adversarial.vgg_weights == str(tmp_path / "vgg.pth")
    assert absolute.digest() == given.digest()
    named = launch.with_absolute_paths(made.params(tmp_path, train={"start": "edsr"}))
    assert (named.train.start, named.adversarial.vgg_weights) == ("edsr", None)
    assert launch.with_absolute_paths(made.params(tmp_path)).train.start is None


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "auto", "127.0.0.1:many"])
def test_an_address_where_nobody_answers_is_said_at_once(address):
    with pytest.raises(ConfigError, match=r"^launch.address: no Ray cluster answers at "):
        cluster._check_address(address.format(port=made.free_port()))


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_an_address_of_another_kind_is_said_with_what_to_do(address):
    with pytest.raises(
        ConfigError, match=r"^launch.address: is \S+, expected auto, local or host:port .* ray job submit"
    ):
        cluster._check_address(address)


def test_a_rank_that_does_not_see_the_drivers_disk_needs_a_store(launched, params):
    launch_files, _, _ = launched
    elsewhere = launch_files.directory.parent / "launch-1-elsewhere"
    with pytest.raises(ConfigError, match=rf"^storage.remote: is null, and host {socket.gethostname()} does not see"):
        launch._check_disk(params, elsewhere, "head")
    stored = dataclasses.replace(params, storage=dataclasses.replace(params.storage, remote="s3://bucket/runs"))
    launch._check_disk(stored, elsewhere, "head")


def test_a_lost_worker_is_named_with_its_reason(tmp_path):
    lost = Exception("all that Ray says")
    lost.worker_failures = {1: OSError(28, "No space left on device"), 0: RuntimeError("Connection closed\nby peer")}
    sentence = launch._sentence(lost, LaunchParams(max_failures=3), {}, tmp_path)
    assert "rank 0 failed after 3 restarts: RuntimeError: Connection closed;" in sentence
    assert "all that Ray says" in (tmp_path / launch.FAILURE).read_text()


def test_a_cluster_without_room_is_named_with_what_it_has(tmp_path):
    asked = LaunchParams(num_workers=64, cpus_per_worker=2, use_gpu=True)
    sentence = launch._sentence(TimeoutError("…"), asked, {"CPU": 8.0, "GPU": 1.0}, tmp_path)
    assert "could not start 64 workers with 2 CPU, 1 GPU each (the cluster has 8 CPU, 1 GPU, which" in sentence


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A function that puts a shell script in the driver's place; its last argument is the launch's directory."""

    def make(script):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\nfor last; do :; done\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(launch.sys, "executable", str(program))

    return make


def test_a_driver_that_always_dies_is_said_with_its_last_words(params, tmp_path, driver):
    driver("echo once; echo out of memory >&2; exit 3")
    run_dir, said = tmp_path / "run", []
    with pytest.raises(SrError, match=r"ended with exit code 3; details in .*/run/ray-failure.txt; the same command"):
        launch.launch(params, run_dir, say=said.append)
    assert said.count("once") == 1 + params.launch.max_failures
    assert (run_dir / launch.FAILURE).read_text() == "out of memory\n"
    assert not list(run_dir.glob("launch-*"))


def test_a_driver_that_dies_once_is_started_again(params, tmp_path, driver):
    result = '{"run_dir": "run", "step": 20, "best_step": 20, "best_psnr": 28.0, "stopped": false}'
    driver(f"""
        if [ -e $last/first ]; then test ! -e $last/progress.jsonl && echo '{result}' > $last/result.json; exit 0; fi
        touch $last/first $last/progress.jsonl; kill -9 $$""")
    said = []
    assert launch.launch(params, tmp_path / "run", say=said.append).step == 20
    assert [line.rpartition("; ")[2] for line in said] == ["starting Ray again"]


@pytest.mark.parametrize(("error", "kept"), [(ConnectionError("Ray is gone"), ["raylet.err"]), (SrError("why"), [])])
def test_the_logs_of_a_ray_that_was_lost_are_kept(tmp_path, error, kept):
    def lose():
        with cluster._scratch(tmp_path / "logs") as scratch:
            (scratch / "session_latest" / "logs").mkdir(parents=True)
            (scratch / "session_latest" / "logs" / "raylet.err").touch()
            paths.append(scratch)
            raise error

    paths = []
    with pytest.raises(type(error)):
        lose()
    assert [path.name for path in (tmp_path / "logs").glob("*")] == kept
    assert not paths[0].exists()


def launched_by_ray(params, tmp_path, monkeypatch, say=print, **launch_params):
    """How a real Ray ends with `params`; nothing of it is left."""
    monkeypatch.setenv(MARK, mark := f"{os.getpid()}-{tmp_path.name}")
    asked = dataclasses.replace(params, launch=dataclasses.replace(params.launch, **launch_params))
    run_dir = run.current_directory(params)
    try:
        return launch.launch(asked, run_dir, say=say)
    finally:
        assert alive(mark) == {}


@pytest.mark.timeout(240)
@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_gpus_that_are_not_there_are_said_before_ray_waits_for_them(params, tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"^launch.use_gpu: 2 workers with 1 CPU, 1 GPU each .* Ray has 2 CPU, 0 GPU on 1 node"
    ):
        launched_by_ray(params, tmp_path, monkeypatch, use_gpu=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_error_that_all_of_rays_workers_meet_is_raised_as_what_it_is(params, tmp_path, monkeypatch):
    damage(params)
    with pytest.raises(ShardError, match="sha256"):
        launched_by_ray(params, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_directory_in_use_is_not_waited_for(params, tmp_path, monkeypatch):
    monkeypatch.setenv(files.LAUNCHER_PID, str(os.getppid()))  # an owner of the same launcher would be
    run_dir = run.current_directory(params)
    with files.lock_directory(run_dir), pytest.raises(SrError, match=f"is in use by process {os.getpid()} on host"):
        launched_by_ray(params, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_ray_that_loses_its_own_server_is_started_again_and_goes_on(params, tmp_path, monkeypatch):
    def say(line):
        said.append(line)
        if line.startswith("training") and not killed:
            killed.extend(pid for pid, command in alive(os.environ[MARK]).items() if "/raylet " in command)
            os.kill(killed[0], signal.SIGKILL)

    said, killed = [], []
    longer = dataclasses.replace(params, train=dataclasses.replace(params.train, steps=1500))
    result = launched_by_ray(longer, tmp_path, monkeypatch, say=say)
    assert result.step == 1500
    assert any(line.endswith("starting Ray again") for line in said)
    assert list((result.run_dir / launch.LOGS).glob("raylet.*"))
