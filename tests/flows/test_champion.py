"""Who becomes champion: the pure decision."""

import dataclasses
import math

import pytest

from flows.champion import Figures, decide

HOLDER = Figures(
    version=1,
    protocol="benchmark-y",
    precision="float32",
    test_set="sample",
    test_set_digest="a" * 64,
    psnr=28.0,
    ssim=0.8,
)


def challenger(**changes) -> Figures:
    return dataclasses.replace(HOLDER, version=2, psnr=28.5, **changes)


def test_the_first_version_takes_the_title():
    assert decide(challenger(), None).champion


def test_a_better_version_takes_the_title_and_says_by_how_much():
    decision = decide(challenger(), HOLDER)
    assert decision.champion
    assert decision.reason == "better: 28.5000 dB against 28.0000 dB of version 1"


@pytest.mark.parametrize("psnr", [28.0, 27.9, -math.inf, math.nan, math.inf])
def test_what_is_not_better_is_refused(psnr):
    decision = decide(dataclasses.replace(challenger(), psnr=psnr), HOLDER)
    assert not decision.champion
    assert decision.reason.startswith("refused: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocol": "div2k-rgb"}, "refused: measured by div2k-rgb in float32, champion version 1 by benchmark-y"),
        (
            {"precision": "bf16"},
            "refused: measured by benchmark-y in bf16, champion version 1 by benchmark-y in float32",
        ),
        (
            {"test_set_digest": "b" * 64},
            "refused: measured on sample (bbbbbbbb), champion version 1 on sample (aaaaaaaa)",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_though_better(change, reason):
    decision = decide(challenger(**change), HOLDER)
    assert not decision.champion
    assert decision.reason.startswith(reason)


def test_the_holder_keeps_the_title_when_measured_again():
    again = dataclasses.replace(HOLDER, psnr=27.0, protocol="div2k-rgb")
    assert decide(again, HOLDER).champion


def test_no_number_is_no_first():
    assert not decide(dataclasses.replace(HOLDER, psnr=math.nan), None).champion


def test_figures_survive_the_tags_of_the_registry():
    exact = dataclasses.replace(HOLDER, psnr=28.123456789012345)
    assert Figures.from_tags(1, exact.to_tags()) == exact
    assert Figures.from_tags(1, {}) is None
    assert Figures.from_tags(1, exact.to_tags() | {"sr.psnr": "high"}) is None
