"""Batch normalisation over several ranks.

On CUDA the ranks normalise over the whole batch (SyncBatchNorm). SyncBatchNorm refuses CPU tensors: there every rank
normalises over its own crops, and the running statistics, by which the finished network works, are averaged after
each step (weighted by share, in the gradients' own collective), so that all ranks hold the same.
"""

import contextlib
from collections.abc import Iterable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sr_core.world import World


def over_ranks(network: nn.Module, world: World) -> nn.Module:
    """`network` with SyncBatchNorm in place of batch normalisation, where the ranks' devices can do that."""
    if world.size == 1 or world.device.type != "cuda":
        return network
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return converted


def local_statistics(networks: Iterable[nn.Module], world: World) -> list[Tensor]:
    """The running statistics that a step leaves different on every rank."""
    if world.size == 1:
        return []
    return [
        statistic
        for network in networks
        for layer in _layers(network)
        if not isinstance(layer, nn.SyncBatchNorm)
        for statistic in (layer.running_mean, layer.running_var)
        if statistic is not None
    ]


@contextlib.contextmanager
def statistics_kept(*networks: nn.Module) -> Iterator[None]:
    """Forward passes in training mode that leave the running statistics as they are."""
    tracking = [layer for network in networks for layer in _layers(network) if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True


def explained(networks: Iterable[nn.Module], world: World) -> str | None:
    """A sentence on how the ranks' statistics come together; None where there is nothing to say."""
    layers = [layer for network in networks for layer in _layers(network)]
    if world.size == 1 or not layers:
        return None
    if isinstance(layers[0], nn.SyncBatchNorm):
        return f"batch normalisation: over the crops of all {world.size} ranks (SyncBatchNorm)"
    return (
        "batch normalisation: over each rank's own crops, since SyncBatchNorm needs CUDA; "
        "the running statistics are averaged over the ranks after each step"
    )


def _layers(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
