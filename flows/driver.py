"""Ray's driver: a child process that is started again when Ray's own servers are lost.

Ray takes over signal handlers, so whatever drives it is no part of the process that runs a flow; see flows/child.py.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from flows import child
from flows.launch_files import LaunchFiles
from sr_core import files
from sr_core.errors import SrError, explained
from sr_core.params import Params
from sr_core.progress import Progress, console

FAILURE, LOGS = "ray-failure.txt", "ray-logs"  # beside the launch's directory: what Ray said last


def drive(
    module: str,
    params: Params,
    launch_files: LaunchFiles,
    *,
    what: str,
    goes_on: str,
    say: Callable[[str], None] | None,
    stop_grace_s: Callable[[], float],
) -> dict[str, Any]:
    """Runs `python -m <module> --child <directory>` and returns the result that it leaves.

    `what` it does, and how the same command `goes_on`, are for the sentence on its failure.
    `say` gets what it prints, line by line; None lets it print for itself (bars, on a terminal). Nothing of it is
    left on leaving; when interrupted, it has `stop_grace_s()` seconds to leave a result, of which `interrupted` says
    the step.

    Raises:
        SrError: the error that it met, of its own kind; or Ray was lost for more than `launch.max_failures` times.
    """
    launch_files.write_params(params)
    details = launch_files.directory.parent / FAILURE
    for restarts_left in range(params.launch.max_failures, -1, -1):
        launch_files.progress.unlink(missing_ok=True)  # of a driver before this one, and shown by it
        with _last_words(launch_files):
            code = child.run(
                [sys.executable, "-m", module, "--child", str(launch_files.directory)],
                say=say,
                errors=launch_files.stderr,
                ask_to_stop=launch_files.stop.touch,
                has_stopped=launch_files.has_nothing_to_lose,
                stop_grace_s=stop_grace_s,
            )
        if (result := launch_files.read_result()) is not None:
            return result
        files.write_atomic(details, launch_files.stderr.read_bytes())
        lost = f"{what}: Ray's driver ended with exit code {code}; details in {details}"
        if restarts_left:
            (say or print)(f"{lost}; starting Ray again")
    raise SrError(f"{lost}; the same command goes on {goes_on}")


@contextlib.contextmanager
def _last_words(launch_files: LaunchFiles) -> Iterator[None]:
    """Keeps for `interrupted` what the ranks have left when an interruption leaves.

    An error that they have left replaces ctrl-C or a scheduler's SIGTERM: the same command would meet it again. What
    Prefect raises stays what it is, and a cancel a cancel.
    """
    try:
        yield
    except BaseException as interruption:
        try:
            values = launch_files.read_result() or {}
        except SrError as error:
            if isinstance(interruption, KeyboardInterrupt):
                raise error from None
            _said.append(f"interrupted; {error}")
        else:
            if values.get("stopped"):
                _said.append(f"stopped at step {values['step']}, checkpoint written")
        raise


def interrupted() -> str:
    """How far a command came that was asked to stop; an exception's notes get lost in Prefect."""
    return _said[-1] if _said else "interrupted"


_said: list[str] = []


def main_of_child(launch_files: LaunchFiles, work: Callable[[Params, Progress], object]) -> int:
    """What the child does: `work`, of which the launcher says the error; returns the exit code."""
    child.follow_launcher()
    try:
        # whatever Ray prints goes where nobody looks unless this process dies: progress holds its own stream
        quiet = (contextlib.redirect_stdout(sys.__stderr__), contextlib.redirect_stderr(sys.__stderr__))
        with console() as progress, quiet[0], quiet[1]:
            work(launch_files.read_params(), progress)
    except (SrError, OSError) as error:
        launch_files.write_failure("driver", explained(error))
        return explained(error).exit_code
    return 0
