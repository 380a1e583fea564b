"""Saving while training goes on: what is copied, in which order it is written, and what a failure leaves."""

import errno
import threading
import time

import pytest
import torch
from test_checkpoint import holds, manifest_of, saved, state_of
from training import STEPS, digest, go, made, with_train

from sr_core.errors import CheckpointError
from sr_core.train import checkpoint, run
from sr_core.train.saver import Saver


@pytest.fixture
def gate(monkeypatch):
    """Lets nothing be written until it is set."""
    opened, write = threading.Event(), checkpoint.write_tensors

    def wait_and_write(path, tensors):
        assert opened.wait(60)
        return write(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", wait_and_write)
    yield opened
    opened.set()


@pytest.fixture
def no_room(monkeypatch):
    """The disk is full for every file of tensors after the first."""
    written, write = [], checkpoint.write_tensors

    def fail_after_the_first(path, tensors):
        if written:
            raise checkpoint.unwritable(path, OSError(errno.ENOSPC, "No space left on device"))
        written.append(path)
        return write(path, tensors)

    monkeypatch.setattr(checkpoint, "write_tensors", fail_after_the_first)


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_written_is_the_state_at_the_save(tmp_path, gate):
    tensors = state_of(3)
    with Saver(tmp_path, keep=2) as saver:
        saver.save(tensors, manifest_of(3))
        for tensor in tensors.values():
            tensor.zero_()
        assert not any(tmp_path.glob("step-*"))  # the loop is ahead of the disk
        gate.set()
    assert holds(checkpoint.newest(tmp_path).path, 3)


def test_a_second_save_waits_for_the_first(tmp_path, gate):
    committed = []
    with Saver(tmp_path, keep=9, committed=lambda: committed.append(0)) as saver:
        saver.save(state_of(1), manifest_of(1))
        threading.Timer(0.3, gate.set).start()
        saver.save(state_of(2), manifest_of(2))
        assert len(committed) >= 1
        saver.save(state_of(3), manifest_of(3))
    assert len(committed) == 3
    assert all(holds(tmp_path / f"step-{step:08d}", step) for step in (1, 2, 3))


def test_best_weights_are_written_before_the_checkpoint_that_names_them(tmp_path, gate):
    seen = []
    with Saver(tmp_path, keep=2) as saver:
        saver.later("best", {"a": torch.ones(2)}, lambda _: seen.append((gate.wait(60), any(tmp_path.glob("step-*")))))
        saver.save(state_of(3), manifest_of(3))  # waits for no other kind
        assert not seen
        gate.set()
    assert seen == [(True, False)]
    assert checkpoint.newest(tmp_path).manifest.step == 3


def test_what_the_thread_meets_is_raised_and_nothing_more_is_written(tmp_path, no_room):
    sentence = "cannot be written to .No space left on device.; free space and go on"
    saver = Saver(tmp_path, keep=2)
    saver.save(state_of(1), manifest_of(1))
    saver.check()
    saver.save(state_of(2), manifest_of(2))
    until(lambda: saver._failure)
    for late in (saver.check, lambda: saver.save(state_of(3), manifest_of(3)), saver.close):
        with pytest.raises(CheckpointError, match=sentence):
            late()
    with pytest.raises(CheckpointError, match=sentence):
        saver.__exit__(None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert holds(tmp_path / "step-00000001", 1)


def test_the_loops_own_error_is_not_hidden_and_what_is_being_written_is_finished(tmp_path, gate):
    def loop():
        with Saver(tmp_path, keep=2) as saver:
            saver.save(state_of(1), manifest_of(1))
            threading.Timer(0.2, gate.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert checkpoint.newest(tmp_path).manifest.step == 1


def test_buffers_are_made_once_and_keep_the_memory_format(tmp_path):
    with Saver(tmp_path, keep=2) as saver:
        saver.prepare("checkpoint", state_of(1))
        before = {name: buffer.data_ptr() for name, buffer in saver._buffers["checkpoint"].items()}
        for step in range(1, 4):
            saver.save(state_of(step), manifest_of(step))
        after = saver._buffers["checkpoint"]
    assert {name: buffer.data_ptr() for name, buffer in after.items()} == before
    assert after["network/weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_copies_are_pinned_and_of_the_moment_of_the_save(tmp_path):
    tensors = {name: tensor.cuda() for name, tensor in state_of(3).items()}
    with Saver(tmp_path, keep=2) as saver:
        saver.save(tensors, manifest_of(3))
        for tensor in tensors.values():
            tensor.zero_()
        assert all(buffer.is_pinned() for buffer in saver._buffers["checkpoint"].values())
    assert holds(checkpoint.newest(tmp_path).path, 3)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return made(tmp_path_factory.mktemp("data"))


def test_a_run_out_of_room_says_so_and_goes_on_bit_for_bit_with_room(job, tmp_path, monkeypatch):
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    go(*job, whole)
    write = checkpoint.write_tensors

    def fail_at_step_6(path, tensors):
        if "step-00000006" in str(path) and path.name == checkpoint.STATE:
            raise checkpoint.unwritable(path.parent.parent, OSError(errno.ENOSPC, "No space left on device"))
        return write(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", fail_at_step_6)
        with pytest.raises(CheckpointError, match=r"No space left on device.*free space"):
            go(*job, interrupted)
    assert checkpoint.newest(interrupted / "checkpoints").manifest.step == 3
    assert go(*job, interrupted).step == STEPS
    assert digest(interrupted) == digest(whole)


def test_a_save_after_every_step_changes_nothing(job, tmp_path):
    params, dataset = job
    go(params, dataset, tmp_path / "few")
    go(with_train(params, checkpoint_every=1, eval_every=1), dataset, tmp_path / "many")
    assert digest(tmp_path / "many") == digest(tmp_path / "few")
    manifest = checkpoint.newest(tmp_path / "many" / run.CHECKPOINTS).manifest
    assert run.best_directory(tmp_path / "many", manifest.best_step).is_dir()


def test_the_one_before_a_damaged_checkpoint_is_not_pushed_out_by_it(job, tmp_path):
    params, dataset = job
    go(params, dataset, tmp_path)
    newest = tmp_path / "checkpoints" / f"step-{STEPS:08d}"
    (newest / checkpoint.MANIFEST).unlink()
    stops = iter([True])
    go(params, dataset, tmp_path, should_stop=lambda: next(stops))  # goes on from 9, ends after 10
    assert sorted(path.name for path in newest.parent.iterdir()) == ["step-00000009", "step-00000010"]


def test_saved_checkpoints_are_those_of_checkpoint_save(tmp_path):
    with Saver(tmp_path / "saver", keep=2) as saver:
        saver.save(state_of(3), manifest_of(3))
    path = saved(tmp_path / "plain", 3) / "step-00000003"
    for file in path.iterdir():
        assert (tmp_path / "saver" / path.name / file.name).read_bytes() == file.read_bytes()
