"""Random SIGKILLs during back-to-back saves: is there a whole checkpoint after each, and no older than it must be?

    python benchmarks/torn_saves.py [--kills 100] [--seed 0] [--directory FOLDER]

A child saves with the loop's Saver as fast as it can, a small state and one of 8 MB in turn from child to child, and
tells each step whose checkpoint is committed. It is killed at a random moment, and the next child goes on in the same
directory, among whatever the last one left there. A kill is valid if `checkpoint.newest` gives a checkpoint, byte for
byte what was saved at its step, that is at least as new as the last one told.
"""

import argparse
import multiprocessing
import multiprocessing.connection
import random
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from sr_core.train import checkpoint
from sr_core.train.saver import Saver

SIZES = (1_000, 2_000_000)  # float32 numbers
KEEP = 2


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)  # children are forked: no thread may be there
    chance = random.Random(arguments.seed)
    num_valid = num_interrupted = 0
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        directory = Path(scratch) / "checkpoints"
        for kill in range(arguments.kills):
            size = SIZES[kill % len(SIZES)]
            told = _kill_one(directory, size, chance)
            num_interrupted += any(directory.glob(".*.partial"))
            problem = _problem(directory, told, size)
            num_valid += problem is None
            if problem:
                print(f"kill {kill} at {told}: {problem}", flush=True)
    print(f"{num_interrupted} of {arguments.kills} kills left a part of a checkpoint behind")
    print(f"valid_latest_after_kills: {num_valid}/{arguments.kills}")


def _kill_one(directory: Path, size: int, chance: random.Random) -> int:
    """Kills a saving child at a random moment; the last step that it told."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_save_for_ever, args=(directory, size, theirs))
    child.start()
    theirs.close()
    told: int = ours.recv()
    save_s = time.perf_counter()
    told = ours.recv()
    save_s = time.perf_counter() - save_s
    time.sleep(chance.uniform(0, 5 * save_s))
    child.kill()
    child.join()
    try:
        while True:
            told = ours.recv()
    except EOFError:
        return told


def _save_for_ever(directory: Path, size: int, to: multiprocessing.connection.Connection) -> None:
    found = checkpoint.newest(directory).manifest
    step = told = found.step if found else 0

    def committed() -> None:
        nonlocal told
        told += 1
        to.send(told)

    with Saver(directory, keep=KEEP, committed=committed) as saver:
        while True:
            step += 1
            saver.save(_state(step, size), _manifest(step))


def _state(step: int, size: int) -> dict[str, Tensor]:
    return {"weights": torch.full((size,), float(step)), "adam/step": torch.tensor(float(step))}


def _problem(directory: Path, told: int, size: int) -> str | None:
    found = checkpoint.newest(directory)
    if found.path is None or found.manifest is None:
        return "no checkpoint"
    if found.rejected:
        return f"damaged: {found.rejected}"
    if found.manifest.step < told:
        return f"step {found.manifest.step} is older than {told}, which was committed"
    expected, tensors = _state(found.manifest.step, size), checkpoint.load_tensors(found.path)
    same = expected.keys() == tensors.keys() and all(torch.equal(expected[name], tensors[name]) for name in expected)
    return None if same else f"step {found.manifest.step} holds something else"


def _manifest(step: int) -> checkpoint.Manifest:
    return checkpoint.Manifest(
        step=step,
        precision="float32",
        num_threads=1,
        world_size=1,
        torch_version=torch.__version__,
        best_psnr=None,
        best_step=None,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", help="where to write; by default the system's folder for temporary files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
