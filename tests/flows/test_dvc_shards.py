"""Real shards in DVC: on the disk once, pushed and pulled whole, and what DVC does not verify is verified here."""

import contextlib
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import made
import pytest
from dvc_project import DvcProject
from processes import wait_until

from flows.versions import data_version, record
from sr_core import config
from sr_core.data import index, shards
from sr_core.data.patches import open_dataset
from sr_core.errors import ShardError
from sr_core.progress import QUIET

STAGES = ("photographs", "prepare@bicubic")


def build(project: DvcProject) -> config.Params:
    """The sample's shards, built outside of DVC and recorded; returns their parameters."""
    params = config.load(
        project.folder / "params.yaml", [f"data.root={project.folder}/data", "data.num_writers=1", "data.scale=2"]
    )
    shards.build(params.data, progress=QUIET)
    return params


def recorded(project: DvcProject) -> str:
    params = config.load(project.folder / "params.yaml", ["data.num_writers=1"])
    return record(project.folder / "params.yaml", params, ["prepare"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose sample shards are recorded; tests leave it as it is."""
    project = DvcProject(tmp_path_factory.mktemp("dvc") / "project")
    project.set("data.scale", 2)
    build(project)
    assert recorded(project) == f"recorded in dvc.lock: {', '.join(STAGES)}"
    return project


def clone_of(project: DvcProject, folder: Path) -> DvcProject:
    """A fresh clone, with what stands in dvc.lock and params.yaml and an empty cache."""
    clone = DvcProject.__new__(DvcProject)
    clone.folder = folder
    project.git("clone", "--quiet", str(project.folder), str(folder))
    for name in ("dvc.lock", "params.yaml", ".dvc/config"):
        shutil.copyfile(project.folder / name, folder / name)
    return clone


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def disk_bytes(*folders: Path) -> int:
    """What the files take, those that are linked with each other once."""
    stats = [path.stat() for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum({one.st_ino: one.st_size for one in stats}.values())


def test_after_a_build_outside_of_dvc_nothing_is_left_to_do(built):
    assert built.dvc("status", *STAGES).strip() == "Data and pipelines are up to date."


def test_the_shards_are_on_the_disk_once(built):
    alone = disk_bytes(built.folder / "data" / "shards")
    assert disk_bytes(built.folder / ".dvc" / "cache", built.folder / "data" / "shards") < 1.01 * alone


@contextlib.contextmanager
def s3_server(folder: Path):
    """The URL of an S3 server of one's own, with the bucket `shards`."""
    port = made.free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(url), 60, "moto's S3 server")
            urllib.request.urlopen(urllib.request.Request(f"{url}/shards", method="PUT"), timeout=10).close()
            yield url
        finally:
            server.terminate()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_clone_gets_the_same_shards_from_a_remote(built, tmp_path, monkeypatch, kind):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with contextlib.ExitStack() as stack:
        other = clone_of(built, tmp_path / "clone")
        for project in (built, other):
            project.dvc("remote", "add", "--local", "--force", kind, str(tmp_path / "remote"))
        if kind == "s3":
            url = stack.enter_context(s3_server(tmp_path))
            for project in (built, other):
                project.dvc("remote", "add", "--local", "--force", kind, "s3://shards/dvc")
                project.dvc("remote", "modify", "--local", kind, "endpointurl", url)
        built.dvc("push", "--remote", kind, *STAGES)
        other.dvc("pull", "--remote", kind, "--allow-missing", *STAGES)
    assert content(other.folder / "data" / "shards") == content(built.folder / "data" / "shards")
    params = config.load(other.folder / "params.yaml", [f"data.root={other.folder}/data"])
    original = config.load(built.folder / "params.yaml", [f"data.root={built.folder}/data"])
    opened = open_dataset(params.data, verify=True).digest
    assert opened == data_version(original, project=built.folder).digest
    assert set(data_version(params, project=other.folder).dvc) == {
        "train/hr",
        "train/bicubic",
        "valid/hr",
        "valid/bicubic",
    }


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)  # by which DVC knows what it need not read


def test_a_damaged_file_in_dvcs_cache_is_found_and_replaced(tmp_path):
    project = DvcProject(tmp_path / "project")
    project.set("data.scale", 2)
    params = build(project)
    recorded(project)
    directory = index.shard_directories(params.data)["train/bicubic"]
    (shard,) = directory.glob("*.npy")
    (cached,) = [path for path in (project.folder / ".dvc" / "cache").rglob("*") if same(path, shard)]
    whole = cached.read_bytes()
    shutil.rmtree(directory)
    flip_a_byte(cached)
    project.dvc("checkout", *STAGES)
    assert project.dvc("status", *STAGES).strip() == "Data and pipelines are up to date."  # DVC does not see it
    with pytest.raises(ShardError, match=rf"1 of 6 files are damaged.*\n.*{shard.name}: sha256"):
        open_dataset(params.data, verify=True)
    build(project)
    open_dataset(params.data, verify=True)
    assert cached.read_bytes() != whole
    assert recorded(project).endswith("1 damaged files in DVC's cache were replaced")
    assert cached.read_bytes() == whole
    assert same(cached, shard)


def same(one: Path, other: Path) -> bool:
    return os.path.samestat(one.stat(), other.stat())
