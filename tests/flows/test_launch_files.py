"""What driver, ranks and flow tell each other arrives as it was sent."""

import os
import socket

import made
import pytest

from flows import launch_files
from flows.launch_files import FileProgress, LaunchFiles, Replay
from sr_core import errors
from sr_core.errors import SrError


class Seen:
    """A Progress that writes down its calls."""

    def __init__(self):
        self.calls = []

    def start(self, label, total=None, *, unit="things"):
        self.calls.append(("start", label, total))

    def advance(self, amount=1):
        self.calls.append(("advance", amount))

    def say(self, text):
        self.calls.append(("say", text))


@pytest.fixture
def seen():
    return Seen()


def test_progress_arrives_in_order(tmp_path, seen):
    files = LaunchFiles(directory=tmp_path)
    progress, replay = FileProgress(files.append_progress), Replay(files.progress, seen)
    replay()  # nothing there yet
    progress.start("training", 3)
    progress.advance()
    replay()
    progress.say("half way")
    progress.advance(2)
    progress.flush()
    replay()
    assert seen.calls == [("start", "training", 3), ("advance", 1), ("say", "half way"), ("advance", 2)]


def test_steps_of_milliseconds_are_written_together(tmp_path, seen, monkeypatch):
    monkeypatch.setattr(launch_files, "FLUSH_EVERY_S", 60.0)
    files = LaunchFiles(directory=tmp_path)
    progress = FileProgress(files.append_progress)
    progress.start("training", 1000)
    for _ in range(1000):
        progress.advance()
    progress.say("done")
    Replay(files.progress, seen)()
    assert seen.calls == [("start", "training", 1000), ("advance", 1000), ("say", "done")]


def test_a_line_that_is_still_being_written_waits(tmp_path, seen):
    path = tmp_path / "progress.jsonl"
    replay = Replay(path, seen)
    path.write_text('{"say": "whole"}\n{"say": "ha')
    replay()
    assert seen.calls == [("say", "whole")]
    path.write_text('{"say": "whole"}\n{"say": "half"}\n')
    replay()
    assert seen.calls == [("say", "whole"), ("say", "half")]


def test_parameters_and_result_arrive_as_they_were(tmp_path):
    given = made.params(tmp_path, train={"adam_eps": 1e-8, "lr": 1e-4})
    with LaunchFiles.make(tmp_path / "run") as files:
        files.write_params(given)
        assert files.read_params() == given
        assert files.read_result() is None
        result = {"run_dir": "/run", "step": 40, "best_psnr": 28.125, "stopped": False}
        files.write_result(result)
        assert files.read_result() == result


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SrError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_arrives_as_what_it_was(tmp_path, kind):
    with LaunchFiles.make(tmp_path) as files:
        files.write_failure("rank1", kind("step 3: \u201cwhy\u201d\n  two lines"))
        assert files.num_failures() == 1
        with pytest.raises(SrError, match=r"^step 3: \u201cwhy\u201d\n  two lines$") as caught:
            files.read_result()
        assert type(caught.value) is kind


def test_an_error_of_another_module_keeps_its_sentence(tmp_path):
    class ForeignError(SrError):
        pass

    with LaunchFiles.make(tmp_path) as files:
        files.write_failure("driver", ForeignError("no"))
        with pytest.raises(SrError, match=r"^no$"):
            files.read_result()


def test_what_a_killed_launch_left_is_swept_and_a_live_one_is_kept(tmp_path):
    host = socket.gethostname()
    (tmp_path / f"launch-4194305-{host}").mkdir()  # above the largest process id
    (tmp_path / f"launch-{os.getppid()}-{host}").mkdir()
    (tmp_path / "launch-4194305-elsewhere-2").mkdir()
    with LaunchFiles.make(tmp_path) as files:
        kept = {path.name for path in tmp_path.iterdir()}
        assert files.directory.name == f"launch-{os.getpid()}-{host}"
    assert kept == {files.directory.name, f"launch-{os.getppid()}-{host}", "launch-4194305-elsewhere-2"}
    assert not files.directory.exists()


def test_what_a_rank_tells_and_asks_is_in_the_files(tmp_path):
    with LaunchFiles.make(tmp_path) as files:
        assert (files.verified_hosts(), files.is_asked_to_stop()) == ([], False)
        files.mark_verified("host-b")
        files.stop.touch()
        assert (files.verified_hosts(), files.is_asked_to_stop()) == (["host-b"], True)
