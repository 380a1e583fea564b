"""How and where a run is launched, stored and recorded. Never part of the digest: none of it changes the weights."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from sr_core.sections import Problems, at_least

RESERVED = {"CPU", "GPU"}  # resources that have keys of their own


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LaunchParams:
    """How Ray Train runs the job."""

    num_workers: int = 2
    min_workers: int | None = None  # elastic: goes on with as few, and takes returning ones in; null: all or none
    resize_every_s: float = 30.0  # elastic: how often Ray looks whether workers could return
    use_gpu: bool = False
    cpus_per_worker: int = 1
    resources_per_worker: Mapping[str, float] = dataclasses.field(default_factory=dict)  # of a cluster's own kinds
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"  # workers on few nodes, or on many
    address: str = "auto"  # a Ray cluster's; local: one of our own; auto: RAY_ADDRESS where it is set, else local
    max_failures: int = 3  # restarts of the worker group before the job fails
    max_preemptions: int = 100  # times that a flow goes on by itself with a run that was preempted

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from at_least(self, num_workers=1, cpus_per_worker=1, max_failures=0, max_preemptions=0)
        if self.min_workers is not None and not 1 <= self.min_workers <= self.num_workers:
            yield "min_workers", f"is {self.min_workers}, expected null, or 1 to launch.num_workers {self.num_workers}"
        if not (self.resize_every_s > 0 and math.isfinite(self.resize_every_s)):
            yield "resize_every_s", f"is {self.resize_every_s}, expected a finite number above 0"
        for name, amount in self.resources_per_worker.items():
            if not isinstance(name, str) or name in RESERVED:
                yield (
                    "resources_per_worker",
                    f"has the key {name!r}, expected a kind that the cluster's nodes were started with; "
                    "for CPU and GPU there are launch.cpus_per_worker and launch.use_gpu",
                )
            elif isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < math.inf:
                yield "resources_per_worker", f"gives {name} the amount {amount!r}, expected a number above 0"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StorageParams:
    """Where shards and runs lie for several hosts that share no disk; `data.root` is then each host's own."""

    remote: str | None = None  # s3://bucket/prefix, file:///folder or a folder; null: data.root is all there is
    endpoint: str | None = None  # s3: the server's URL, where it is not AWS; null: AWS_ENDPOINT_URL
    lease_s: float = 60.0  # a run directory's owner that is silent for so long has lost it

    def problems(self) -> Problems:
        """Every value out of range."""
        if self.remote is not None and not self.remote.strip():
            yield "remote", "is empty, expected null, s3://bucket/prefix, file:///folder or a folder"
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            yield "endpoint", f"is {self.endpoint!r}, expected a URL that starts with http:// or https://"
        if self.endpoint is not None and not (self.remote or "").startswith("s3://"):
            yield "endpoint", f"is {self.endpoint!r}, expected null unless storage.remote starts with s3://"
        if not (1 <= self.lease_s < math.inf):
            yield "lease_s", f"is {self.lease_s}, expected a finite number of seconds, 1 or more"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrackParams:
    """Where MLflow records the run."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "super-resolution"

    def problems(self) -> Problems:
        """Every value out of range: none."""
        return iter(())
