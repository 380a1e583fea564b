"""A flow run that is preempted goes on as another run of its deployment; one that is cancelled never does.

Both reach the flow's process as SIGTERM. A cancel is known to Prefect before: the run is Cancelling. Anything else is
the machine's notice, after which the run directory goes on wherever the next run of the same parameters is started. Of
a process that was killed without notice (its run is Crashed) nothing is known, and nothing is started by itself.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from flows import child
from flows.driver import interrupted
from sr_core.errors import SrError
from sr_core.extras import require

require("prefect", "pipeline")
from prefect import get_client  # noqa: E402
from prefect.exceptions import TerminationSignal  # noqa: E402
from prefect.runtime import deployment, flow_run  # noqa: E402

CANCELLED_GRACE_S = 5.0  # for a last checkpoint: a cancelled run must be gone within 15 s
PREEMPTED_GRACE_S = 110.0  # machines give two minutes' notice, or less and then end us without asking
AGAIN, COUNT = "resubmitted:", "resubmissions:"  # tags: the run that this one goes on from, and how many there were


@contextlib.contextmanager
def when_preempted(most: int) -> Iterator[None]:
    """For use in a flow: a SIGTERM that cancels nothing leaves a new run behind, if there were fewer than `most`.

    Raises:
        SrError: in place of TerminationSignal, and names the new run.
    """
    try:
        yield
    except TerminationSignal:
        with child.sigterm_waits():
            new = None if deployment.id is None or is_cancelled() else _resubmit(most)
        if new is None:
            raise
        raise SrError(f"{interrupted()}; this flow run was preempted: {new}") from None


def stop_grace_s() -> float:
    """How long an interrupted flow may wait for its ranks' last checkpoint."""
    return CANCELLED_GRACE_S if deployment.id is not None and is_cancelled() else PREEMPTED_GRACE_S


def is_cancelled() -> bool:
    """Whether this flow run is cancelled or about to be; yes if Prefect's server does not say."""
    with contextlib.suppress(Exception):  # whatever its client raises: without an answer nothing can be started
        state = get_client(sync_client=True).read_flow_run(flow_run.id).state
        return state is None or state.is_cancelling() or state.is_cancelled()
    return True


def _resubmit(most: int) -> str:
    """Starts the same again; what to say of it."""
    client: Any = get_client(sync_client=True)
    old = client.read_flow_run(flow_run.id)
    num = _count(old.tags)
    if num >= most:
        return f"it was resubmitted {num} times, and launch.max_preemptions allows no more: start it again by hand"
    kept = [tag for tag in old.tags if not tag.startswith((AGAIN, COUNT))]
    new = client.create_flow_run_from_deployment(
        old.deployment_id,
        parameters=old.parameters,
        tags=[*kept, f"{AGAIN}{old.id}", f"{COUNT}{num + 1}"],
        idempotency_key=f"{AGAIN}{old.id}",
        work_queue_name=old.work_queue_name,
        job_variables=old.job_variables,
    )
    return f"flow run {new.name} ({new.id}) goes on"


def _count(tags: Sequence[str]) -> int:
    return next((int(tag.removeprefix(COUNT)) for tag in tags if tag.startswith(COUNT)), 0)
