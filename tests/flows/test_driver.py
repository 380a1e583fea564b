"""What a driver's ranks have left when it is interrupted is what the command says."""

import pytest

from flows import driver
from flows.launch_files import LaunchFiles
from sr_core.errors import CheckpointError

FULL = "checkpoints/step-7: No space left on device"


class Cancelled(BaseException):
    """As Prefect's TerminationSignal."""


@pytest.fixture
def left(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_said", [])
    files = LaunchFiles(directory=tmp_path)
    files.write_failure("rank0", CheckpointError(FULL))
    return files


def test_a_last_checkpoint_that_failed_is_no_interruption_that_goes_on(left):
    with pytest.raises(CheckpointError, match=FULL), driver._last_words(left):
        raise KeyboardInterrupt


def test_a_cancel_stays_one_and_says_what_failed(left):
    with pytest.raises(Cancelled), driver._last_words(left):
        raise Cancelled
    assert driver.interrupted() == f"interrupted; {FULL}"


def test_a_checkpoint_that_was_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_said", [])
    files = LaunchFiles(directory=tmp_path)
    files.write_result({"stopped": True, "step": 7})
    with pytest.raises(KeyboardInterrupt), driver._last_words(files):
        raise KeyboardInterrupt
    assert driver.interrupted() == "stopped at step 7, checkpoint written"
