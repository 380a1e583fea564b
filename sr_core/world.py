"""Who this process is among the ranks, and the only place that opens a process group.

A launcher says so through the environment (torchrun's RANK, WORLD_SIZE, LOCAL_RANK); Ray Train sets the same
variables and has opened the group already. With no such variables this is a world of one without a group.
"""

import contextlib
import dataclasses
import datetime
import functools
import math
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
import torch.distributed as dist

from sr_core import faults
from sr_core.errors import ConfigError, GroupError, SrError, StoppedError

T = TypeVar("T")

MEET_EVERY_S = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process's place: `rank` of `size`, `local_rank` on its host, and its device."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    timeout_s: float = math.inf  # of every collective; what then meets a rank is a GroupError

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that writes."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """The part of 0..total-1 that is this rank's: consecutive, sizes differing by at most one."""
        return range(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def sum_in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sums `tensor` over all ranks in place and returns it."""
        if self.size > 1:
            with _explained(self.timeout_s):
                dist.all_reduce(tensor)
        return tensor

    def broadcast_in_place(self, tensors: Iterable[torch.Tensor]) -> None:
        """Rank 0's values of `tensors` on every rank; all ranks give as many, of the same shapes and formats."""
        for tensor in tensors if self.size > 1 else ():
            sent = tensor.detach().to(self.device).contiguous()  # a copy where the backend needs another
            with _explained(self.timeout_s):
                dist.broadcast(sent, src=0)
            tensor.detach().copy_(sent)

    def meeting(self, call: Callable[[], T] | None, *, should_stop: Callable[[], bool] = lambda: False) -> T | None:
        """What `call` returned, if this rank has one; all ranks wait for all calls, and an error on one ends all.

        However long they take: each is in a thread, and the ranks meet every few seconds, so no collective runs into
        its limit, and a rank that hangs is noticed as ever.

        Raises:
            StoppedError: `should_stop` said so on a rank while one was at work; its thread is left behind.
        """
        value, failure = self._outcome_of(call, should_stop)
        failure = self._any(failure)
        if failure is not None:
            raise failure
        return value

    def _outcome_of(
        self, call: Callable[[], T] | None, should_stop: Callable[[], bool] = lambda: False
    ) -> tuple[T | None, Exception | None]:
        """What this rank's `call` returned, or its error, once all ranks' calls have ended."""
        outcomes: list[tuple[T | None, Exception | None]] = []
        thread = threading.Thread(target=lambda: outcomes.append(self._outcome(call)), name="meeting", daemon=True)
        thread.start()
        while True:
            thread.join(min(MEET_EVERY_S, self.timeout_s / 4))
            flags = torch.tensor([thread.is_alive(), should_stop()], dtype=torch.float32)
            busy, stop = self.sum_in_place(flags.to(self.device)).tolist()
            if not busy:
                return outcomes[0]
            if stop:
                raise StoppedError("stopped before the first step; the same command goes on")

    def _outcome(self, call: Callable[[], T] | None) -> tuple[T | None, Exception | None]:
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # each thread has its own
        try:
            return (call() if call else None), None
        except Exception as error:  # whatever it is, the others must not wait for it in vain
            return None, error
        except BaseException as error:  # of a thread nobody would hear of it
            return None, SrError(f"{type(error).__name__}: {error}")

    def on_first(self, call: Callable[[], T]) -> T:
        """What `call` returns on rank 0, on every rank; its error is raised on every rank too. As `meeting`."""
        if self.size == 1:
            return call()
        own = self._outcome_of(call if self.is_first else None)
        box = [_sendable(*own)]
        with _explained(self.timeout_s):
            dist.broadcast_object_list(box, src=0, device=self.device)
        value, failure = box[0]
        if failure is not None:
            raise own[1] or failure
        return value  # type: ignore[return-value]

    def on_each_host(self, call: Callable[[bool], T]) -> T:
        """`call(True)` on each host's local rank 0, then `call(False)` on the others; an error on one ends all."""
        if self.size == 1:
            return call(True)
        values = [
            self.meeting(functools.partial(call, turn) if (self.local_rank == 0) is turn else None)
            for turn in (True, False)
        ]
        return values[self.local_rank != 0]  # type: ignore[return-value]

    def on_all(self, call: Callable[[], T]) -> T:
        """What `call` returns on this rank; an error on one ends all."""
        failure: Exception | None = None
        try:
            value = call()
        except Exception as error:  # as in _outcome
            failure = error
        failure = self._any(failure)
        if failure is not None:
            raise failure
        return value

    def gathered(self, value: T) -> list[T]:
        """Every rank's `value`, by rank."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        with _explained(self.timeout_s):
            dist.all_gather_object(values, value)
        return values

    def _any(self, failure: Exception | None) -> Exception | None:
        """The first rank's error; where it is this rank's own, as it was."""
        all_ranks = self.gathered(_sendable(None, failure)[1])
        return next((failure if rank == self.rank else one for rank, one in enumerate(all_ranks) if one), None)


def _sendable(value: T | None, failure: Exception | None) -> tuple[T | None, Exception | None]:
    """What can be pickled: if it failed in the collective, it would do so on one rank, and the others would wait."""
    if failure is not None and not isinstance(failure, SrError | OSError):
        failure = SrError(f"{type(failure).__name__}: {failure}")
    try:
        pickle.loads(pickle.dumps((value, failure)))
    except Exception as error:  # whatever it is
        return None, SrError(f"{type(failure or error).__name__}: {failure or error}")
    return value, failure


@contextlib.contextmanager
def _explained(timeout_s: float) -> Iterator[None]:
    """What torch says of a collective that cannot be finished becomes a sentence for users."""
    try:
        yield
    except RuntimeError as error:  # of gloo, and torch's own DistError
        if re.search("timed out|timeout", str(error), re.IGNORECASE):
            what = (
                f"another rank has not answered for {timeout_s:g} s (train.collective_timeout_s): it hangs, or its "
                "host is out of reach; look at that host and end what hangs there"
            )
        else:
            said = re.sub(r"^\[[^]]*\] ", "", str(error)).partition(". ")[0].partition("\n")[0]
            what = f"another rank was lost ({said}); it may have said why"
        raise GroupError(f"{what}; the same command goes on from the last checkpoint") from None


@contextlib.contextmanager
def open_world(*, timeout_s: float, use_gpu: bool | None = None) -> Iterator[World]:
    """The world this process was started in; opens the process group if none is open, and closes what it opened.

    `timeout_s` bounds every collective: a hung rank ends the group after it (torch's own default is 30 min).
    `use_gpu` None means: where there are GPUs.

    Raises:
        ConfigError: there is no GPU for this rank.
        GroupError: the other ranks did not come.
    """
    rank, size, local_rank = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    device = _device(local_rank, use_gpu)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    opened = size > 1 and not dist.is_initialized()
    if opened:
        backend = "nccl" if device.type == "cuda" else "gloo"
        with _explained(timeout_s):
            dist.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout_s))
    try:
        faults.point("group_open")
        yield World(rank=rank, size=size, local_rank=local_rank, device=device, timeout_s=timeout_s)
    finally:
        if opened:
            dist.destroy_process_group()


def _device(local_rank: int, use_gpu: bool | None) -> torch.device:
    num_gpus = torch.cuda.device_count() if use_gpu is not False else 0
    if not num_gpus and not use_gpu:
        return torch.device("cpu")
    if local_rank >= num_gpus:
        raise ConfigError(
            f"local rank {local_rank} has no GPU of its own, this host has {num_gpus}; expected one for each: "
            "lower --nproc-per-node or launch.num_workers"
        )
    return torch.device("cuda", local_rank)


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
