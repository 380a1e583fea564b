"""Photographs of one's own, as they come: two hundred JPEG files."""

from sr_core.data import shards
from sr_core.data.patches import open_dataset
from sr_core.params import DataParams
from sr_core.progress import QUIET


def test_a_folder_of_photographs_becomes_shards_of_every_track_made_here(tmp_path, shared):
    mixed = {"bicubic": 2.0, "unknown": 1.0}
    folder = str(shared / "photos" / "bsds500_train")
    params = DataParams(source="folder", folder=folder, root=str(tmp_path), degradation="mixed", mixed=mixed, crop=24)
    version = shards.build(params, progress=QUIET)
    dataset = open_dataset(params, verify=True)
    assert dataset.digest == version.digest
    assert len(dataset.valid) == 20  # every tenth of two hundred
    assert len(dataset.train) == 1080
