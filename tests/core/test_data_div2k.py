"""DIV2K fetched from a real local server, unpacked, killed, damaged, and unpacked by hand."""

import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zips import content, few_images, offer

from sr_core.data import archives, div2k
from sr_core.data.pairs import find_all_pairs
from sr_core.data.shards import build
from sr_core.data.sources import dataset_name, materialise
from sr_core.errors import SourceError
from sr_core.inspect.survey import survey
from sr_core.params import DataParams
from sr_core.progress import QUIET, lines

BICUBIC = ("DIV2K_train_HR", "DIV2K_valid_HR", "DIV2K_train_LR_bicubic_X4", "DIV2K_valid_LR_bicubic_X4")


class Mirror(http.server.ThreadingHTTPServer):
    """Serves a folder, and notes what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        assert isinstance(self.server, Mirror)
        self.server.asked.append(Path(self.path).stem)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A server of all 22 archives of a small DIV2K."""
    offer(tmp_path / "offered", monkeypatch)
    server = Mirror(tmp_path / "offered")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def params_of(tmp_path: Path, mirror: Mirror | None = None, **others: Any) -> DataParams:
    url = None if mirror is None else mirror.url
    fields: dict[str, Any] = {
        "source": "div2k",
        "root": str(tmp_path / "data"),
        "mirror": url,
        "crop": 8,
        "num_writers": 1,
    }
    return DataParams(**fields | others)


def tree(raw: Path) -> dict[str, bytes]:
    return {str(file.relative_to(raw)): file.read_bytes() for file in raw.rglob("*.png")}


def expected(*names: str) -> dict[str, bytes]:
    table = {Path(each.name).stem: each for each in archives.ARCHIVES}
    return {name: data for each in names for name, data in content(table[each]).items()}


def test_what_a_run_needs_is_fetched_and_unpacked_once(tmp_path: Path, mirror: Mirror) -> None:
    params = params_of(tmp_path, mirror)
    raw = materialise(params, progress=QUIET)

    assert raw == tmp_path / "data/raw/div2k"
    assert dataset_name(params) == "div2k"
    assert tree(raw) == expected(*BICUBIC)
    assert set(mirror.asked) == set(BICUBIC)
    assert not list((tmp_path / "data/raw/archives").glob("*.zip"))
    mirror.asked.clear()
    before = {file: file.stat().st_mtime_ns for file in raw.rglob("*")}
    materialise(params, progress=QUIET)
    assert mirror.asked == []
    assert before == {file: file.stat().st_mtime_ns for file in raw.rglob("*")}
    pairs = find_all_pairs(params, raw)
    assert [len(pairs[split]) for split in ("train", "valid")] == [3, 2]


def test_another_track_fetches_just_what_is_new(tmp_path: Path, mirror: Mirror) -> None:
    materialise(params_of(tmp_path, mirror), progress=QUIET)
    mirror.asked.clear()
    params = params_of(tmp_path, mirror, degradation="mixed", mixed={"bicubic": 1.0, "wild": 1.0, "second_order": 1.0})
    raw = materialise(params, progress=QUIET)

    assert set(mirror.asked) == {"DIV2K_train_LR_wild", "DIV2K_valid_LR_wild"}
    pairs = find_all_pairs(params, raw)
    assert {track: len(files) for track, files in pairs["train"][0].lr.items()} == {"bicubic": 1, "wild": 4}
    assert {track: len(files) for track, files in pairs["valid"][0].lr.items()} == {"bicubic": 1, "wild": 1}


def test_archives_can_be_kept(tmp_path: Path, mirror: Mirror) -> None:
    materialise(params_of(tmp_path, mirror, keep_archives=True), progress=QUIET)
    assert {path.stem for path in (tmp_path / "data/raw/archives").glob("*.zip")} == set(BICUBIC)
    materialise(params_of(tmp_path, mirror), progress=QUIET)
    assert not list((tmp_path / "data/raw/archives").glob("*.zip"))


def test_archives_that_are_there_already_are_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data/raw/archives"  # even here
    offer(folder, monkeypatch)
    before = {path: path.stat() for path in folder.iterdir()}
    raw = materialise(params_of(tmp_path, archives=str(folder)), progress=QUIET)

    assert tree(raw) == expected(*BICUBIC)
    assert {path: path.stat() for path in folder.iterdir()} == before


def test_wrong_archives_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = offer(tmp_path / "mine", monkeypatch)
    os.truncate(paths["DIV2K_train_HR.zip"], 100)
    data = paths["DIV2K_valid_HR.zip"].read_bytes()
    paths["DIV2K_valid_HR.zip"].write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])

    with pytest.raises(SourceError, match=r"(?s)train_HR\.zip: 100 bytes, expected .*valid_HR\.zip: sha256"):
        materialise(params_of(tmp_path, archives=str(tmp_path / "mine")), progress=QUIET)
    with pytest.raises(SourceError, match=r"data\.archives: there is no folder .*nowhere") as caught:
        materialise(params_of(tmp_path, archives=str(tmp_path / "nowhere")), progress=QUIET)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data/raw/div2k").exists()


def test_a_look_compares_sizes_too(tmp_path: Path, mirror: Mirror) -> None:
    params = params_of(tmp_path, mirror)
    raw = materialise(params, progress=QUIET)
    assert (survey(params, progress=QUIET).problems, survey(params, progress=QUIET).to_fetch) == ((), ())
    victim = raw / "DIV2K_train_HR/0002.png"
    with victim.open("ab") as file:
        file.write(b"more")
    found = survey(params, progress=QUIET)
    assert [line for line in found.problems if str(victim) in line and "bytes, expected" in line]
    assert [archive.name for archive in found.to_fetch] == ["DIV2K_train_HR.zip"]


@pytest.mark.parametrize("damage", ["truncated", "deleted", "folder", "manifest", "no folder"])
def test_what_is_damaged_is_unpacked_again(tmp_path: Path, mirror: Mirror, damage: str) -> None:
    raw = materialise(params_of(tmp_path, mirror), progress=QUIET)
    victim = raw / "DIV2K_train_HR/0002.png"
    if damage == "truncated":
        os.truncate(victim, 10)
    elif damage == "manifest":
        (raw / ".manifests/DIV2K_train_HR.json").write_text("{}")
    else:
        victim.unlink()
        for file in victim.parent.iterdir() if damage == "no folder" else []:
            file.unlink()
        if damage != "deleted":
            (victim.parent.rmdir if damage == "no folder" else victim.mkdir)()
    mirror.asked.clear()
    said: list[str] = []
    materialise(params_of(tmp_path, mirror), progress=lines(said.append))

    assert set(mirror.asked) == {"DIV2K_train_HR"}
    assert tree(raw) == expected(*BICUBIC)
    assert any("so DIV2K_train_HR.zip is unpacked again" in line for line in said) == (damage != "no folder")


def test_nothing_of_the_users_is_lost_or_trained_on(tmp_path: Path, mirror: Mirror) -> None:
    raw = materialise(params_of(tmp_path, mirror), progress=QUIET)
    (raw / "DIV2K_train_HR/notes.txt").write_text("mine")
    (raw / "DIV2K_train_HR/.DS_Store").write_text("a file manager's")
    (raw / "DIV2K_valid_HR/mine.png").write_bytes(b"mine")

    with pytest.raises(SourceError, match=r"cannot be used as it lies in .*\n  .*valid_HR/mine\.png: .*move it away\Z"):
        materialise(params_of(tmp_path, mirror), progress=QUIET)
    (raw / "DIV2K_train_HR/0001.png").unlink()
    with pytest.raises(SourceError, match=r"(?s)train_HR/notes\.txt: .*move it away.*mine\.png: .*move it away"):
        materialise(params_of(tmp_path, mirror), progress=QUIET)
    assert (raw / "DIV2K_train_HR/notes.txt").exists()
    assert (raw / "DIV2K_valid_HR/mine.png").exists()
    (raw / "DIV2K_train_HR/notes.txt").unlink()
    (raw / "DIV2K_valid_HR/mine.png").unlink()
    materialise(params_of(tmp_path, mirror), progress=QUIET)
    assert tree(raw) == expected(*BICUBIC)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_overwritten(tmp_path: Path, mirror: Mirror, kind: str) -> None:
    path = tmp_path / "data/raw/div2k/DIV2K_train_HR"
    path.parent.mkdir(parents=True)
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("/media/unplugged")
    with pytest.raises(SourceError, match=r"train_HR: is not a folder; move it away\Z"):
        materialise(params_of(tmp_path, mirror), progress=QUIET)
    assert os.path.lexists(path)
    assert mirror.asked == []


def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Path:
    few_images(monkeypatch)
    raw = tmp_path / "data/raw/div2k"
    for name, data in expected(*names).items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(data)
    return raw


@pytest.mark.parametrize("names", [BICUBIC, BICUBIC[:2]], ids=["all", "HR only: LR is made here"])
def test_what_was_unpacked_by_hand_is_used_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    raw = by_hand(tmp_path, monkeypatch, *names)
    params = params_of(tmp_path)

    assert materialise(params, progress=QUIET) == raw
    assert tree(raw) == expected(*names)
    assert not (raw / ".manifests").exists()
    assert len(find_all_pairs(params, raw)["train"]) == 3


def test_what_was_unpacked_by_hand_in_part_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = by_hand(tmp_path, monkeypatch, *BICUBIC)
    (raw / "DIV2K_train_HR/0002.png").unlink()
    (raw / "DIV2K_valid_LR_bicubic/X4/0801x4.png").unlink()

    with pytest.raises(SourceError) as caught:
        materialise(params_of(tmp_path), progress=QUIET)
    message = str(caught.value)
    assert message.count("\n") == 2
    assert "DIV2K_train_HR: lacks 1 of its 3 images (0002.png) and was not unpacked by this program" in message
    assert "X4: lacks 1 of its 2 images (0801x4.png)" in message
    assert len(tree(raw)) == 8


def test_wild_images_by_hand_may_have_a_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = by_hand(
        tmp_path, monkeypatch, "DIV2K_train_HR", "DIV2K_valid_HR", "DIV2K_train_LR_wild", "DIV2K_valid_LR_wild"
    )
    for file in (raw / "DIV2K_valid_LR_wild").iterdir():
        os.link(file, file.with_stem(f"{file.stem}1"))
        file.unlink()
    params = params_of(tmp_path, degradation="wild")

    pair = find_all_pairs(params, materialise(params, progress=QUIET))["valid"][0]
    assert pair.lr == {"wild": (raw / "DIV2K_valid_LR_wild/0801x4w1.png",)}


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(each.bytes for each in archives.needed(params_of(tmp_path)))
    usage = div2k.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(div2k.shutil, "disk_usage", lambda path: usage._replace(free=2 * size - 1))

    with pytest.raises(SourceError, match=r"data\.root: .*data has .* free, but DIV2K's 4 archives take .*disk"):
        materialise(params_of(tmp_path, mirror), progress=QUIET)
    assert mirror.asked == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest, zips
from sr_core.data import div2k, extract, sources
from sr_core.params import DataParams
from sr_core.progress import QUIET

zips.offer(Path(sys.argv[2]) / "again", pytest.MonkeyPatch())
room, name, count = {"extract": (extract, "_write", 4), "discard": (div2k, "_discard", 3)}[sys.argv[4]]
whole, calls = getattr(room, name), []

def die(*arguments):
    calls.append(1)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)

setattr(room, name, die)
fields = {"root": str(Path(sys.argv[2]) / "data"), "mirror": sys.argv[3], "crop": 8}
sources.materialise(DataParams(source="div2k", **fields), progress=QUIET)
"""


@pytest.mark.parametrize("moment", ["extract", "discard"])
def test_killed_it_goes_on(tmp_path: Path, mirror: Mirror, moment: str) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, here, tmp_path, mirror.url, moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    mirror.asked.clear()
    raw = materialise(params_of(tmp_path, mirror), progress=QUIET)

    assert mirror.asked == []
    assert tree(raw) == expected(*BICUBIC)
    assert not list((tmp_path / "data/raw/archives").glob("*.zip"))
    assert not [path for path in raw.rglob("*") if ".partial" in path.name]


def test_two_at_once_make_one_transfer(tmp_path: Path, mirror: Mirror) -> None:
    said: list[str] = []
    with div2k._alone(tmp_path / "data/.locks/raw-div2k", QUIET):
        second = threading.Thread(
            target=materialise, args=(params_of(tmp_path, mirror),), kwargs={"progress": lines(said.append)}
        )
        second.start()
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert mirror.asked == []
    second.join()
    assert "another process fetches or unpacks DIV2K; waiting for it" in said[0]
    assert tree(tmp_path / "data/raw/div2k") == expected(*BICUBIC)


def test_an_image_that_changed_is_named_before_it_is_built_of(tmp_path: Path, mirror: Mirror) -> None:
    params = params_of(tmp_path, mirror)
    raw = materialise(params, progress=QUIET)
    victims = [raw / "DIV2K_train_HR/0002.png", raw / "DIV2K_valid_LR_bicubic/X4/0801x4.png"]
    for victim in victims:
        data = victim.read_bytes()
        victim.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])

    with pytest.raises(SourceError, match=r"(?s)2 files are no longer what .* held .*delete them") as caught:
        build(params, progress=QUIET)
    assert all(str(victim) in str(caught.value) for victim in victims)
    assert not (tmp_path / "data/shards").exists()
    for victim in victims:
        victim.unlink()
    mirror.asked.clear()
    build(params, progress=QUIET)
    assert set(mirror.asked) == {"DIV2K_train_HR", "DIV2K_valid_LR_bicubic_X4"}
