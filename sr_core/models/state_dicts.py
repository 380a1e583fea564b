"""What a file of weights holds, whatever trainer wrote it: the state dict in its wrappers, without prefixes.

Trainers save a network's tensors alone or beside optimizers and counters, averaged or not, under the names that
DistributedDataParallel, torch.compile or a surrounding module give them.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sr_core.errors import CheckpointError

# under which names trainers save a generator's tensors; of several the first counts: averaged weights before others
WRAPPERS = (
    "params_ema",
    "ema_state_dict",
    "state_dict_ema",
    "g_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "generator_state_dict",
    "generator",
    "netG",
    "net_g",
    "G",
    "model",
    "net",
    "network",
    "weights",
)
_DEEPEST = 4
# what stands before every name, and what stands before those of a generator beside other networks
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_GENERATORS = ("generator_ema.", "generator.", "netG.", "net_g.", "model_g.")

# what a convolution's tensors are called: plain, and with weight normalisation by either of torch's two ways
_LEAVES = {
    "parametrizations.weight.original0": "gain",
    "parametrizations.weight.original1": "direction",
    "weight_g": "gain",
    "weight_v": "direction",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One tensor of a file, and its whole name there."""

    name: str
    tensor: Tensor


Layers = Mapping[str, Mapping[str, Stored]]  # by name of the layer, then weight, bias, gain, direction, …


def find(loaded: object, depth: int = 0) -> dict[str, Tensor]:
    """The tensors by name in what was loaded from a file: a state dict, or a mapping that holds one.

    Raises:
        CheckpointError: there is none.
    """
    if isinstance(loaded, Mapping) and depth <= _DEEPEST:
        for wrapper in WRAPPERS:
            if isinstance(loaded.get(wrapper), Mapping) and loaded[wrapper]:
                return find(loaded[wrapper], depth + 1)
        tensors = {name: item for name, item in loaded.items() if isinstance(name, str) and isinstance(item, Tensor)}
        if any("." in name for name in tensors):
            return _dense(tensors)
    kind = f"a mapping with {_some(loaded)}" if isinstance(loaded, Mapping) else type(loaded).__name__
    raise CheckpointError(
        f"holds {kind}, expected a state dict: tensors by name, alone or as one of {', '.join(WRAPPERS)}; save it with "
        "torch.save(network.state_dict(), file)"
    )


def _dense(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise CheckpointError(
                f"{name} is quantised, sparse or complex, expected dense real numbers; convert it first"
            )
    return tensors


def _some(loaded: Mapping[object, object]) -> str:
    names = [repr(name) for name in loaded]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"


def readings(state: Mapping[str, Tensor]) -> Iterator[Layers]:
    """The layers of `state`: with the names as they are, then without each prefix that they share."""
    waiting, seen = [""], {""}
    while waiting:
        prefix = waiting.pop(0)
        names = [name for name in state if name.startswith(prefix)]
        yield _layers({name[len(prefix) :]: Stored(name=name, tensor=state[name]) for name in names})
        shared = [one for one in _PREFIXES if all(name.startswith(prefix + one) for name in names)]
        among = [one for one in _GENERATORS if any(name.startswith(prefix + one) for name in names)]
        waiting += [prefix + one for one in (*shared, *among) if prefix + one not in seen]
        seen.update(waiting)


def _layers(state: Mapping[str, Stored]) -> Layers:
    layers: dict[str, dict[str, Stored]] = {}
    for name, stored in state.items():
        ending = next((one for one in _LEAVES if name.endswith(f".{one}")), name.rpartition(".")[2])
        layer = name.removesuffix(ending).removesuffix(".")
        layers.setdefault(layer, {})[_LEAVES.get(ending, ending)] = stored
    return layers
