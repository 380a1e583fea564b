"""What Ray Train is asked for, from the parameters alone, and what is said where a cluster cannot give it."""

import made
import pytest

from flows import workers
from sr_core.errors import ConfigError
from sr_core.launch_params import LaunchParams

NODE = {"CPU": 4.0, "memory": 1e9, "node:10.0.0.1": 1.0}
GPU_NODE = {**NODE, "GPU": 2.0, "accelerator_type:H100": 1.0}


def trainer(tmp_path, **launch):
    return workers.trainer(print, made.params(tmp_path, launch=launch), {"own": True, "niceness": 0}, tmp_path / "ray")


def test_gpu_workers_have_nccl_and_one_gpu_each(tmp_path):
    asked = trainer(tmp_path, use_gpu=True, num_workers=8, cpus_per_worker=6)
    assert asked.backend_config.backend == "nccl"
    scaling = asked.scaling_config
    assert (scaling.num_workers, scaling.use_gpu, scaling.num_gpus_per_worker) == (8, True, 1)
    assert scaling._resources_per_worker_not_none == {"CPU": 6, "GPU": 1}
    assert scaling.total_resources == {"CPU": 48, "GPU": 8}


def test_workers_without_gpus_have_gloo_and_what_is_asked_for(tmp_path):
    asked = trainer(tmp_path, num_workers=3, resources_per_worker={"fast_disk": 0.5}, placement="STRICT_SPREAD")
    assert asked.backend_config.backend == "gloo"
    assert asked.scaling_config._resources_per_worker_not_none == {"CPU": 1, "fast_disk": 0.5}
    assert asked.scaling_config.placement_strategy == "STRICT_SPREAD"
    assert not asked.scaling_config.elasticity_enabled


def test_elastic_bounds_and_limits_reach_ray(tmp_path):
    asked = trainer(tmp_path, num_workers=8, min_workers=2, resize_every_s=45.0, max_failures=7)
    scaling = asked.scaling_config
    assert (scaling.min_workers, scaling.max_workers, scaling.elasticity_enabled) == (2, 8, True)
    assert scaling.elastic_resize_monitor_interval_s == 45.0
    assert asked.run_config.failure_config.max_failures == 7
    assert asked.run_config.failure_config.controller_failure_limit > 0  # not for ever
    assert asked.backend_config.timeout_s == 300


def test_a_cluster_of_our_own_has_all_but_gpus():
    asked = LaunchParams(num_workers=3, cpus_per_worker=2, use_gpu=True, resources_per_worker={"fast_disk": 0.5})
    assert workers.in_all(asked) == {"CPU": 6, "fast_disk": 1.5}


@pytest.mark.parametrize(
    ("asked", "fit"),
    [
        ({}, 8),
        ({"cpus_per_worker": 3}, 2),
        ({"use_gpu": True}, 2),
        ({"placement": "SPREAD"}, 8),
        ({"placement": "STRICT_SPREAD"}, 2),
        ({"placement": "STRICT_PACK"}, 4),
        ({"resources_per_worker": {"fast_disk": 1}}, 0),
    ],
)
def test_how_many_workers_fit(asked, fit):
    assert workers.that_fit([NODE, GPU_NODE], LaunchParams(**asked)) == fit


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"num_workers": 4, "use_gpu": True}, "launch.use_gpu: 4 workers with 1 CPU, 1 GPU each are asked for"),
        ({"num_workers": 9}, "launch.cpus_per_worker: 9 workers with 1 CPU each"),
        ({"num_workers": 1, "cpus_per_worker": 5}, "launch.cpus_per_worker: 1 workers with 5 CPU each"),
        ({"num_workers": 3, "placement": "STRICT_SPREAD"}, "launch.placement: 3 workers with 1 CPU each"),
        ({"resources_per_worker": {"fast_disk": 1}}, "launch.resources_per_worker.fast_disk: 2 workers with"),
    ],
)
def test_what_a_cluster_has_no_room_for_is_one_sentence_with_what_it_has(asked, sentence):
    with pytest.raises(ConfigError) as caught:
        workers.wait_for_room(LaunchParams(**asked), lambda: [NODE, GPU_NODE], wait_s=0.0, say=print)
    assert sentence in str(caught.value)
    assert "Ray has 8 CPU, 2 GPU on 2 nodes: room for " in str(caught.value)


def test_nodes_that_come_late_are_waited_for():
    said, found = [], [[], [NODE]]
    workers.wait_for_room(LaunchParams(), lambda: found.pop(0), wait_s=5.0, say=said.append)
    assert said == ["waiting 5 s at most for room for 2 workers; the cluster has 0 CPU, 0 GPU on 0 nodes"]


def test_elastic_workers_need_room_for_the_fewest():
    asked = LaunchParams(num_workers=64, min_workers=4)
    workers.wait_for_room(asked, lambda: [NODE], wait_s=0.0, say=print)
