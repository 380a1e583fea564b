"""A flag that a GPU's host reads one step late, tried without a GPU: its copies are immediate here."""

from typing import ClassVar

import pytest
import torch

from sr_core.train.window import Behind


class Event:
    """As torch.cuda.Event; knows whether anybody waited for it."""

    made: ClassVar[list["Event"]] = []

    def __init__(self):
        self.made.append(self)
        self.calls = []

    def record(self):
        self.calls.append("record")

    def synchronize(self):
        self.calls.append("synchronize")


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Event, "made", [])
    behind = Behind(torch.device("cpu"))
    behind._on_gpu = True
    return behind


def test_on_a_cpu_it_is_read_at_once():
    behind = Behind(torch.device("cpu"))
    assert [behind(torch.tensor(flag)) for flag in (0.0, 2.0, 0.0)] == [False, True, False]


def test_on_a_gpu_it_is_that_of_the_step_before(on_gpu):
    assert [on_gpu(torch.tensor(flag)) for flag in (0.0, 1.0, 0.0, 0.0)] == [False, False, True, False]


def test_on_a_gpu_nobody_waits_for_the_step_that_was_just_queued(on_gpu):
    for _ in range(3):
        on_gpu(torch.tensor(0.0))
    assert [event.calls for event in Event.made] == [["record", "synchronize"], ["record", "synchronize"], ["record"]]
