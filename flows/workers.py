"""What each of Ray's workers is given, how many of them a cluster has room for, and the trainer that starts them."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import cluster, notice
from sr_core.errors import ConfigError
from sr_core.launch_params import LaunchParams
from sr_core.params import Params

ROOM_WAIT_S = 60.0  # for a cluster's nodes to come up, where they are too few for the workers
RETURN_WAIT_S = 600.0  # for room that others take, or that was lost with a node
START_TIMEOUT_S = 15.0  # for a group to get its room; elastic: then fewer are tried
# Ray Train's own that start a process each which trains nothing, and that we have no use for: our data does not come
# from Ray, and what a group holds is given back when its driver ends
UNUSED = {"DatasetsCallback", "PlacementGroupCleanerCallback"}

Nodes = Sequence[Mapping[str, float]]  # what each live node has, by kind


def resources(launch: LaunchParams) -> dict[str, float]:
    """What each worker holds, by Ray's names."""
    gpu = {"GPU": 1.0} if launch.use_gpu else {}
    return {"CPU": float(launch.cpus_per_worker), **gpu, **launch.resources_per_worker}


def in_all(launch: LaunchParams) -> dict[str, float]:
    """What a cluster of our own gives away, whatever the machine has: only GPUs have to be there."""
    return {kind: amount * launch.num_workers for kind, amount in resources(launch).items() if kind != "GPU"}


def live(ray: Any) -> Nodes:
    """What the cluster's live nodes have."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def that_fit(nodes: Nodes, launch: LaunchParams) -> int:
    """How many workers these nodes have room for, if nobody else works there."""
    each = resources(launch)
    on_each = [min(int(node.get(kind, 0.0) // amount) for kind, amount in each.items()) for node in nodes]
    match launch.placement:
        case "STRICT_PACK":
            return max(on_each, default=0)
        case "STRICT_SPREAD":
            return sum(fit > 0 for fit in on_each)
        case _:
            return sum(on_each)


def wait_for_room(
    launch: LaunchParams, nodes: Callable[[], Nodes], *, wait_s: float, say: Callable[[str], None]
) -> None:
    """Returns when the nodes have room for the fewest workers that will do.

    Raises:
        ConfigError: they still have not after `wait_s` seconds: names the key that asks too much, and what there is.
    """
    needed = launch.num_workers if launch.min_workers is None else launch.min_workers
    deadline, said = time.monotonic() + wait_s, False
    while that_fit(found := nodes(), launch) < needed:
        if time.monotonic() >= deadline:
            raise ConfigError(_no_room(launch, found, needed))
        if not said:
            say(f"waiting {wait_s:.0f} s at most for room for {needed} workers; the cluster has {_listed(found)}")
            said = True
        time.sleep(min(1.0, wait_s))


def _no_room(launch: LaunchParams, nodes: Nodes, needed: int) -> str:
    each = resources(launch)
    short = [
        kind
        for kind, amount in each.items()
        if _sum(nodes, kind) < amount * needed or all(node.get(kind, 0.0) < amount for node in nodes)
    ]
    key = _KEYS.get(short[-1], f"resources_per_worker.{short[-1]}") if short else "placement"
    wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in each.items())
    instead = ", or set launch.use_gpu to false" if key == "use_gpu" else ""
    return (
        f"launch.{key}: {needed} workers with {wanted} each are asked for (placement {launch.placement}), and Ray has "
        f"{_listed(nodes)}: room for {that_fit(nodes, launch)}; lower launch.num_workers or add nodes{instead}"
    )


_KEYS = {"CPU": "cpus_per_worker", "GPU": "use_gpu"}


def _listed(nodes: Nodes) -> str:
    kinds = {kind for node in nodes for kind in node if not kind.startswith(("node:", "accelerator_type:"))}
    amounts = ", ".join(
        f"{_sum(nodes, kind):g} {kind}"
        for kind in ("CPU", "GPU", *sorted(kinds - {"CPU", "GPU", "memory", "object_store_memory"}))
    )
    return f"{amounts} on {len(nodes)} node{'s' * (len(nodes) != 1)}"


def _sum(nodes: Nodes, kind: str) -> float:
    return sum(node.get(kind, 0.0) for node in nodes)


def is_lost_at_start(error: Exception) -> bool:
    """Whether a worker was lost while its function was being started: Ray Train gives up then, and keeps its room."""
    from ray.exceptions import RayActorError

    return isinstance(getattr(error, "controller_failure", None), RayActorError)


def _hurry(niceness: int) -> Any:
    """For Ray's controller: what of Ray has yielded to ranks that are lost does so no longer."""
    from ray.train.v2._internal.execution.callback import WorkerGroupCallback

    class Hurry(WorkerGroupCallback):
        def before_worker_group_start(self, _context: Any) -> None:
            cluster.hurry(niceness)

    return Hurry()


def trainer(function: Callable[..., None], params: Params, settings: Mapping[str, Any], storage: Path) -> Any:
    """Ray Train's trainer, which runs `function(settings)` in each worker; `storage` is for its own files."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    launch = params.launch

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            made = super()._create_default_callbacks()  # type: ignore[misc]
            kept = [each for each in made if type(each).__name__ not in UNUSED]
            return [*kept, notice.callback(), *([_hurry(settings["niceness"])] if settings["own"] else [])]

    return Trainer(
        function,
        train_loop_config=dict(settings),
        torch_config=TorchConfig(
            backend="nccl" if launch.use_gpu else "gloo", timeout_s=int(params.train.collective_timeout_s)
        ),
        scaling_config=ScalingConfig(  # type: ignore[call-arg]
            num_workers=launch.num_workers if launch.min_workers is None else (launch.min_workers, launch.num_workers),  # type: ignore[arg-type]
            elastic_resize_monitor_interval_s=launch.resize_every_s,
            use_gpu=launch.use_gpu,
            resources_per_worker=resources(launch),
            placement_strategy=launch.placement,
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(storage),
            # a group that gets no room would be tried again for ever without the second limit
            failure_config=FailureConfig(  # type: ignore[call-arg]
                max_failures=launch.max_failures, controller_failure_limit=int(RETURN_WAIT_S / START_TIMEOUT_S)
            ),
        ),
    )
