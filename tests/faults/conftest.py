"""The sample's shards, built once for all launches."""

import subprocess
import sys

import pytest
from launched import ROOT


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    subprocess.run([sys.executable, "-m", "sr_core", "shard", "--set", f"data.root={root}"], cwd=ROOT, check=True)
    return root / "shards"
