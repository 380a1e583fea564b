"""What going on at a late step costs: the time to the first batch there, beside the time to the first batch at step 0.

    python benchmarks/seek.py [--rounds 200]

(seed, step) determines the batch, so there is nothing to read again or to draw again. Each trial takes the first batch
of a new iterator of `batches`, in a process that has opened the sample's shards, as a resume does; cached orders of
former trials are dropped. Trials at the two steps alternate, and figures are medians. Last line:
`first_batch_290000_over_0: <figure>` (limit: 0.8 to 1.2).
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time

from sr_core.data import order
from sr_core.data.patches import PatchSet, batches, open_dataset
from sr_core.data.shards import build
from sr_core.params import DataParams
from sr_core.progress import QUIET

LATE, STEPS, BATCH = 290_000, 300_000, 16


def main() -> None:
    """Prints both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        params = DataParams(root=folder)
        build(params, progress=QUIET)
        times: dict[int, list[float]] = {0: [], LATE: []}
        for number in range(rounds + 3):
            for step in (0, LATE) if number % 2 else (LATE, 0):
                # opened anew: neither side finds what the other has mapped
                seconds = time_to_first(open_dataset(params, verify=False).train, step)
                if number >= 3:  # the first ones load code and fill the page cache
                    times[step].append(seconds)
    medians = {step: statistics.median(each) for step, each in times.items()}
    for step, median in medians.items():
        print(f"first batch at step {step}: {1000 * median:.2f} ms (median of {rounds})")
    ratio = medians[LATE] / medians[0]
    print(f"first_batch_{LATE}_over_0: {ratio:.3f}")
    if not 0.8 <= ratio <= 1.2:
        sys.exit("expected a time within 20 %")


def time_to_first(patches: PatchSet, step: int) -> float:
    """Seconds from asking for the batches from `step` on to having the first one."""
    order._permutation.cache_clear()
    start = time.perf_counter()
    source = batches(patches, seed=1, start=step, stop=STEPS, batch=BATCH, share=range(BATCH), augment=True)
    with contextlib.closing(source):
        next(source)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
