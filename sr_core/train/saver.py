"""Checkpoints and best weights, written while training goes on.

The loop only copies its tensors into buffers that are made once; a thread hashes and writes the copies. Between two
optimizer steps therefore lies a copy in memory, not a disk. On a GPU the copies are queued on its stream, and it is the
thread that waits for them.

One thread writes one thing after another, in the order given: never are two saves in flight, and best weights are on
disk before the checkpoint that names them. After a failure nothing more is written; what was there stays valid.
"""

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from sr_core import faults
from sr_core.errors import explained
from sr_core.train import checkpoint
from sr_core.train.checkpoint import Manifest

Write = Callable[[Mapping[str, Tensor]], None]
NICENESS = 10  # of the thread that writes, above the loop's: the steps have the cores first


class Saver:
    """Writes the checkpoints of one run, on the rank that owns its directory.

    A context manager: leaving it waits for what is being written, and raises what the thread met unless another error
    is on its way already.
    """

    def __init__(self, directory: Path, *, keep: int, committed: Callable[[], None] = lambda: None) -> None:
        """`committed` is called in the thread after each checkpoint; `keep` is how many of them stay."""
        self._directory, self._keep, self._committed = directory, keep, committed
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "saver", initializer=_stand_back)
        self._buffers: dict[str, dict[str, Tensor]] = {}
        self._pending: dict[str, concurrent.futures.Future[None]] = {}
        self._failure: Exception | None = None

    def prepare(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """Makes the buffers that `kind` of tensors are copied to, so that the first save is as short as the others."""
        if kind not in self._buffers:
            self._buffers[kind] = {name: _buffer(tensor) for name, tensor in tensors.items()}

    def save(self, tensors: Mapping[str, Tensor], manifest: Manifest) -> None:
        """Copies `tensors` and returns; the thread makes a checkpoint of them. Waits for the one before."""
        self.later("checkpoint", tensors, lambda copies: self._write(copies, manifest))

    def later(self, kind: str, tensors: Mapping[str, Tensor], write: Write) -> None:
        """Copies `tensors` and returns; the thread calls `write` with the copies. Waits for the former of its `kind`.

        Raises:
            SrError: the thread met it before.
        """
        self._wait(kind)
        self.check()
        self.prepare(kind, tensors)
        copies = self._buffers[kind]
        copied = _copy(tensors, copies)
        self._pending[kind] = self._thread.submit(self._run, copied, copies, write)

    def check(self) -> None:
        """Raises what the thread met, if it met something; costs nothing."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Waits until everything is written.

        Raises:
            SrError: it could not be.
        """
        self._thread.shutdown()
        self.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._thread.shutdown()
        if kind is None:
            self.check()

    def _wait(self, kind: str) -> None:
        if kind in self._pending:
            self._pending[kind].result()

    def _run(self, copied: torch.cuda.Event | None, copies: Mapping[str, Tensor], write: Write) -> None:
        if self._failure is not None:
            return
        try:
            if copied is not None:
                copied.synchronize()
            write(copies)
        except Exception as error:  # whatever it is, the loop must hear of it
            self._failure = explained(error) if isinstance(error, OSError) else error

    def _write(self, copies: Mapping[str, Tensor], manifest: Manifest) -> None:
        faults.point("save_snapshot")
        checkpoint.save(self._directory, copies, manifest, keep=self._keep)
        self._committed()


def _stand_back() -> None:
    """Lets the loop's threads have the cores first; Linux has a niceness for each thread."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, os.nice(0) + NICENESS))


def _buffer(tensor: Tensor) -> Tensor:
    """Memory for a copy of `tensor`, of its memory format and touched, so that no copy waits for a page."""
    pinned = tensor.device.type == "cuda"
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, pin_memory=pinned)
    return empty.zero_()


@torch.no_grad()
def _copy(tensors: Mapping[str, Tensor], copies: Mapping[str, Tensor]) -> torch.cuda.Event | None:
    """Starts copying each of `tensors` to its copy; what says that it is done, or None if it is."""
    for name, copy in copies.items():
        copy.copy_(tensors[name], non_blocking=True)
    device = next((tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"), None)
    if device is None:
        return None
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(device))
    return copied
