"""Two ranks, of which the second sees nothing of the first one's disk but the shards: rank 0 reads for both."""

import json
import os
import subprocess
import sys
from pathlib import Path

from test_start import write_model
from training import STEPS, digest, made, with_train

from sr_core import config
from sr_core.train import checkpoint, metrics_log

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ON_TWO_HOSTS = """
import dataclasses, json, sys
from pathlib import Path
from sr_core import config
from sr_core.data.patches import open_dataset
from sr_core.train import loop
from sr_core.world import open_world

here, steps = Path(sys.argv[1]), int(sys.argv[2])
params = config.from_dict(json.loads((here / "params.json").read_text()))
dataset = open_dataset(params.data, verify=False)
with open_world(timeout_s=60) as world:
    if not world.is_first:
        here = here / "of another host"
        params = dataclasses.replace(params, train=dataclasses.replace(params.train, start="/absent/model"))
    for name, stop_at in (("whole", steps), ("stopped", 5), ("stopped", steps)):
        calls = iter(range(1, steps + 1))
        result = loop.train(
            params, world, here / name, dataset=dataset, should_stop=lambda: world.is_first and next(calls) == stop_at
        )
        assert result.step == stop_at or name == "stopped", result
    assert (here / "stopped").exists() is world.is_first
"""


def test_a_rank_without_the_run_directory_gets_everything_from_rank_0(tmp_path):
    params, _dataset = made(tmp_path / "data")
    params = with_train(params, start=str(write_model(tmp_path / "begin", num_blocks=1)))
    (tmp_path / "params.json").write_text(json.dumps(config.to_dict(params)))
    (tmp_path / "ranks.py").write_text(ON_TWO_HOSTS)
    command = [*COMMAND, str(tmp_path / "ranks.py"), str(tmp_path), str(STEPS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")
    assert checkpoint.newest(tmp_path / "stopped" / "checkpoints").manifest.world_size == 2
    steps = [event.step for event in metrics_log.read(tmp_path / "stopped") if "valid/psnr" in event.values]
    assert steps == [4, 8, 12]
