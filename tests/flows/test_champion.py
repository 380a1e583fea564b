"""Who becomes champion: the pure decision, and the figures that it is made of."""

import dataclasses
import math

import pytest

from flows import registry
from flows.champion import Figures, PerceptualFigures, decide
from sr_core.evaluate.benchmark import EvalReport, ImageScore
from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.perceptual import Perceptual
from sr_core.models.card import Card
from sr_core.params import AdversarialParams, Params

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


NIQE = PerceptualFigures(
    metric="niqe",
    label="NIQE fitted on 7 photographs at half size (181 blocks): astronaut, …",
    digest="c" * 64,
    score=6.0,
    discriminates=True,
)
GAN_HOLDER = dataclasses.replace(HOLDER, perceptual=NIQE)


def gan(psnr=25.0, **changes) -> Figures:
    return dataclasses.replace(GAN_HOLDER, version=2, psnr=psnr, perceptual=dataclasses.replace(NIQE, **changes))


def test_of_adversarial_networks_the_more_natural_one_takes_the_title_though_its_psnr_is_lower():
    decision = decide(gan(score=5.5), GAN_HOLDER)
    assert decision.champion
    assert decision.reason == "better: NIQE 5.5000 (25.00 dB) against NIQE 6.0000 (28.00 dB) of version 1"


@pytest.mark.parametrize("score", [6.0, 6.5, math.nan, math.inf, None])
def test_of_adversarial_networks_the_less_natural_one_is_refused_though_its_psnr_is_higher(score):
    decision = decide(gan(psnr=35.0, score=score), GAN_HOLDER)
    assert not decision.champion
    assert decision.reason.startswith("refused: ")


@pytest.mark.parametrize(
    ("discriminates", "reason"),
    [
        (False, "refused: NIQE does not discriminate: it scores noise of the same PSNR no worse"),
        (None, "refused: whether NIQE tells it from noise was not measured"),
    ],
)
@pytest.mark.parametrize("holder", [GAN_HOLDER, None])
def test_a_score_that_does_not_discriminate_gives_no_title(discriminates, reason, holder):
    decision = decide(gan(score=1.0, discriminates=discriminates), holder)
    assert not decision.champion
    assert decision.reason.startswith(reason)


def test_the_first_adversarial_network_whose_score_discriminates_takes_the_title():
    assert decide(gan(score=9.0), None).champion


def test_scores_by_another_pristine_model_cannot_be_compared():
    decision = decide(gan(score=1.0, digest="f" * 64), GAN_HOLDER)
    assert not decision.champion
    assert (
        "judged by NIQE fitted on 7 photographs at half size (181 blocks): astronaut, … (ffffffff)" in decision.reason
    )


@pytest.mark.parametrize(("new", "holder"), [(challenger(), GAN_HOLDER), (gan(score=1.0), HOLDER)])
def test_psnr_and_niqe_cannot_be_compared(new, holder):
    decision = decide(new, holder)
    assert not decision.champion
    assert "by PSNR" in decision.reason
    assert decision.reason.endswith("not comparable")


def test_perceptual_figures_survive_the_tags_of_the_registry():
    for changes in ({}, {"score": 5.123456789012345}, {"score": None, "discriminates": None}, {"discriminates": False}):
        exact = gan(**changes)
        assert Figures.from_tags(2, exact.to_tags()) == exact
    tags = GAN_HOLDER.to_tags()
    assert "sr.perceptual.score" in tags
    assert not any(name.startswith("sr.perceptual") for name in HOLDER.to_tags())
    for broken in ({"sr.perceptual.score": "low"}, {"sr.perceptual.discriminates": "perhaps"}):
        assert Figures.from_tags(1, tags | broken) is None
    assert Figures.from_tags(1, {name: tag for name, tag in tags.items() if name != "sr.perceptual.digest"}) is None


def test_the_registry_takes_an_adversarial_networks_figures_from_its_report():
    scores = {"bicubic": (27.0, 12.0), "parent": (28.5, 10.0), "edsr": (27.5, 6.0), "control": (27.5, 11.0)}
    about = Perceptual(label="NIQE of mine", digest="c" * 64, crop=4, judged="edsr", parent="parent", control="control")
    report = EvalReport(
        protocol=PROTOCOLS["benchmark-y"],
        scale=4,
        test_set="sample",
        test_set_digest="a" * 64,
        precision="float32",
        scores=tuple(
            ImageScore(model=model, image="chelsea", psnr=psnr, ssim=0.8, seconds=0.1, niqe=niqe)
            for model, (psnr, niqe) in scores.items()
        ),
        perceptual=about,
    )
    card = Card(model="edsr", preset="small", options={}, scale=4)
    gan = Params(adversarial=AdversarialParams(loss="vanilla", content="pixel"))
    figures = registry._figures(gan, report, card, 3)
    assert (figures.version, figures.psnr) == (3, 27.5)
    expected = dataclasses.replace(NIQE, label="NIQE of mine")
    assert figures.perceptual == expected
    beside = dataclasses.replace(report, perceptual=dataclasses.replace(about, judged=None))
    assert registry._figures(Params(), beside, card, 3).perceptual is None
    # against a discriminator PSNR never decides, whatever could not be measured
    for unmeasured in (beside, dataclasses.replace(report, perceptual=None)):
        refused = decide(registry._figures(gan, unmeasured, card, 3), None)
        assert not refused.champion, refused.reason
