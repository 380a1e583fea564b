"""Published figures beside ours: where they match, and nowhere else."""

import dataclasses
import json

import pytest
from rich.console import Console

from sr_core.evaluate.metrics import PROTOCOLS
from sr_core.evaluate.published import TABLE, beside, counterpart, doubt
from sr_core.evaluate.records import EvalReport, Facts, ImageScore, from_dict, read_report
from sr_core.evaluate.report import flat_metrics, plain, write_report
from sr_core.evaluate.tables import lines, markdown, summary, table
from sr_core.files import to_json
from sr_core.models import MODELS


def facts(architecture, preset, **others):
    return Facts(num_parameters=10, seconds_per_megapixel=0.5, architecture=architecture, preset=preset, **others)


def report_of(test_set="Set5", scale=4, protocol="benchmark-y", bicubic=28.43, **others):
    values = {"bicubic": bicubic, "edsr": 32.0, "edsr+": 32.2}
    return EvalReport(
        protocol=PROTOCOLS[protocol],
        scale=scale,
        test_set=test_set,
        test_set_digest="d" * 64,
        precision="float32",
        scores=tuple(
            ImageScore(model=model, image="a", psnr=psnr, ssim=0.9, seconds=1.0) for model, psnr in values.items()
        ),
        facts={
            "bicubic": facts("bicubic", None),
            "edsr": facts("edsr", "baseline", trained_on="DIV2K, bicubic"),
            "edsr+": facts("edsr", "baseline", ensemble=True),
        },
        **others,
    )


def names_of(report):
    return [(each.name, each.psnr) for each in beside(report)]


def test_the_figures_are_those_of_the_set_the_scale_and_the_protocol():
    assert names_of(report_of())[:3] == [("bicubic", 28.42), ("SRGAN", 29.40), ("SRCNN", 30.48)]
    assert names_of(report_of())[-1] == ("RRDB", 32.73)
    assert [each.trained_on for each in beside(report_of())][-1] == "DF2K"
    assert names_of(report_of(scale=2, bicubic=33.68)) == [("bicubic", 33.66)]
    assert names_of(report_of("DIV2K validation", 2, "div2k-rgb", bicubic=31.02))[1:] == [
        ("EDSR baseline", 34.61),
        ("WDSR-A 16x32", 34.76),
        ("EDSR full", 35.03),
        ("WDSR large", 35.06),
    ]


@pytest.mark.parametrize(
    "other",
    [
        report_of(protocol="whole-rgb"),
        report_of("Set5, 3 of 5 images"),
        report_of("photos"),
        report_of(scale=8),
        report_of("DIV2K validation", 4, bicubic=26.67),
        report_of("DIV2K validation", 4, "div2k-rgb", bicubic=26.67, degradation="mild"),
    ],
)
def test_anything_else_is_not_comparable(other):
    assert beside(other) == ()
    assert doubt(other) is None


def test_bicubic_tells_other_images_of_the_same_name():
    halves = report_of("Urban100", 2, bicubic=25.5)
    assert beside(halves) == ()
    assert "bicubic has 25.50 dB here and 26.88 dB in the tables of Urban100 x2" in doubt(halves)
    assert doubt(halves) in " ".join(markdown(halves).split())
    assert plain(halves)["published_doubt"] == doubt(halves)
    assert doubt(report_of("Urban100", 2, bicubic=26.87)) is None


def test_the_counterpart_is_the_same_network():
    report = report_of()
    assert counterpart(report, "edsr").name == "EDSR baseline"
    assert counterpart(report, "bicubic").psnr == 28.42
    assert counterpart(report, "edsr+") is None
    full = dataclasses.replace(report, facts={"edsr": facts("edsr", "full")})
    assert counterpart(full, "edsr").psnr == 32.46
    small = dataclasses.replace(report, facts={"edsr": facts("edsr", "small")})
    assert counterpart(small, "edsr") is None


def test_the_table_names_networks_and_presets_that_exist():
    for entry in TABLE:
        if entry.architecture:
            assert entry.preset is None or entry.preset in MODELS[entry.architecture].presets, entry.name
        assert entry.protocol in PROTOCOLS
        assert entry.trained_on
        assert entry.source


def test_terminal_and_markdown_have_both_with_training_data_and_source():
    report = report_of()
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table(report))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["edsr", "32.00", "0.9000", "DIV2K,", "bicubic", "measured", "here"] in rows
    assert ["RRDB", "32.73", "-", "DF2K", "Wang", "et", "al.", "2018"] in rows
    assert "edsr+: mean over the 8 symmetries" in capture.get()
    text = markdown(report)
    assert "| **edsr** | 32.00 | 0.9000 | DIV2K, bicubic | measured here |" in text
    assert "| EDSR full | 32.46 | - | DIV2K | Lim et al. 2017 |" in text
    assert "benchmark-y (Y, 4 pixels shaved)" in text
    assert [line.name for line in lines(report)][:3] == ["bicubic", "edsr", "edsr+"]
    with console.capture() as capture:
        console.print(summary([report, report_of("photos")]))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["edsr", "32.00", "/", "0.9000", "32.00", "/", "0.9000"] in rows
    assert ["RRDB", "(published,", "DF2K)", "32.73", "/", "-"] in rows


def test_report_json_has_them_for_readers_and_reads_back(tmp_path):
    report = report_of()
    write_report(tmp_path / "r", report, {})
    assert read_report(tmp_path / "r" / "report.json") == report
    tree = json.loads((tmp_path / "r" / "report.json").read_text())
    assert {"name": "RRDB", "psnr": 32.73}.items() <= tree["published"][-1].items()
    assert tree["models"]["edsr"]["seconds_per_megapixel"] == 0.5
    # what promotes a version is the network itself, not its self-ensemble
    assert flat_metrics(report)["mean_psnr"] == 32.0
    assert flat_metrics(report)["ensemble_psnr"] == 32.2


def test_a_report_of_the_first_version_is_read():
    report = report_of()
    old = report.to_dict() | {"version": 1, "protocol": {"name": "benchmark-y", "channel": "y", "shave_px": 4}}
    for key in ("models", "degradation", "lr_source"):
        del old[key]
    old["scores"] = [{key: value for key, value in score.items() if key != "lpips"} for score in old["scores"]]
    read = from_dict(json.loads(to_json(old)))
    assert read == dataclasses.replace(report, facts={})
    assert (read.degradation, read.lr_source) == ("bicubic", None)
    assert counterpart(read, "edsr") is None
    with pytest.raises(ValueError, match="benchmark-y's border is 'mirror', not 'clamp'"):
        from_dict({**report.to_dict(), "protocol": {**report.to_dict()["protocol"], "border": "mirror"}})
