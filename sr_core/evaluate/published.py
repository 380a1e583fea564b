"""Published figures to stand beside ours: only where test set, scale, degradation and protocol are the same.

They are mean PSNR in dB and, where it is known, SSIM, as papers and authors' pages print them. What a network was
trained on stands beside its figure: ImageNet's 350,000 photographs or DIV2K's 800 are no detail. Whether the images are
the same is asked of bicubic: where ours is more than 0.1 dB away from the published one, the images are others
(Urban100's half-size package), and no figure is shown.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from sr_core.evaluate.records import BASELINE, EvalReport

NEAR_DB = 0.1  # within which our bicubic is the published one; rounding alone makes 0.02

Figures = Mapping[str, Mapping[int, tuple[float, float | None]]]  # by test set and scale: PSNR in dB, SSIM


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One network of one paper, and what was measured of it by `protocol` with bicubic LR images."""

    name: str
    trained_on: str
    source: str
    protocol: str
    figures: Figures = dataclasses.field(hash=False)
    architecture: str | None = None  # ours that is the same network
    preset: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """One published figure that can stand in a report's table."""

    name: str
    psnr: float
    ssim: float | None
    trained_on: str
    source: str
    architecture: str | None
    preset: str | None


def _x4(set5: float, set14: float | None, bsd100: float, urban100: float | None) -> Figures:
    """PSNR of x4."""
    found = {"Set5": set5, "Set14": set14, "BSD100": bsd100, "Urban100": urban100}
    return {name: {4: (psnr, None)} for name, psnr in found.items() if psnr is not None}


def _over_scales(x2: float, x3: float, x4: float) -> Figures:
    """PSNR on DIV2K's validation images."""
    return {"DIV2K validation": {2: (x2, None), 3: (x3, None), 4: (x4, None)}}


_Y, _RGB = "benchmark-y", "div2k-rgb"
_LIM = "Lim et al. 2017"
_EDSR_PYTORCH = "EDSR-PyTorch's page"
_FAN = "the authors' pages of WDSR"
_KIM = "Kim et al. 2016"
_LEDIG = "Ledig et al. 2017"

TABLE = (
    Published(
        name="bicubic",
        trained_on="nothing",
        source=_LIM,
        protocol=_Y,
        architecture="bicubic",
        figures={
            "Set5": {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)},
            "Set14": {2: (30.24, None), 3: (27.55, None), 4: (26.00, None)},
            "BSD100": {2: (29.56, None), 3: (27.21, None), 4: (25.96, None)},
            "Urban100": {2: (26.88, None), 3: (24.46, None), 4: (23.14, None)},
        },
    ),
    Published(
        name="bicubic",
        trained_on="nothing",
        source=_LIM,
        protocol=_RGB,
        architecture="bicubic",
        figures=_over_scales(31.01, 28.22, 26.66),
    ),
    Published(
        name="SRCNN",
        trained_on="ImageNet",
        source="Dong et al. 2014, in later papers' tables",
        protocol=_Y,
        architecture="srcnn",
        preset="9-5-5",
        figures=_x4(30.48, 27.50, 26.90, 24.52),
    ),
    Published(
        name="VDSR",
        trained_on="291 images",
        source=_KIM,
        protocol=_Y,
        figures=_x4(31.35, 28.01, 27.29, 25.18),
    ),
    Published(
        name="SRResNet",
        trained_on="ImageNet",
        source=_LEDIG,
        protocol=_Y,
        architecture="srresnet",
        preset="paper",
        figures=_x4(32.05, 28.49, 27.58, None),
    ),
    Published(
        name="SRGAN",
        trained_on="ImageNet",
        source=_LEDIG,
        protocol=_Y,
        architecture="srgan",
        preset="paper",
        figures=_x4(29.40, 26.02, 25.16, None),
    ),
    Published(
        name="EDSR baseline",
        trained_on="DIV2K",
        source="later papers' tables",
        protocol=_Y,
        architecture="edsr",
        preset="baseline",
        figures=_x4(32.09, 28.58, 27.57, 26.04),
    ),
    Published(
        name="EDSR baseline",
        trained_on="DIV2K",
        source=_EDSR_PYTORCH,
        protocol=_RGB,
        architecture="edsr",
        preset="baseline",
        figures=_over_scales(34.61, 30.92, 28.95),
    ),
    Published(
        name="WDSR-A 16x32",
        trained_on="DIV2K",
        source=_FAN,
        protocol=_Y,
        architecture="wdsr_a",
        preset="baseline",
        figures=_x4(32.22, None, 27.61, 26.21),
    ),
    Published(
        name="WDSR-A 16x32",
        trained_on="DIV2K",
        source=_FAN,
        protocol=_RGB,
        architecture="wdsr_a",
        preset="baseline",
        figures=_over_scales(34.76, 31.03, 29.04),
    ),
    Published(
        name="EDSR full",
        trained_on="DIV2K",
        source=_LIM,
        protocol=_Y,
        architecture="edsr",
        preset="full",
        figures=_x4(32.46, 28.80, 27.71, 26.64),
    ),
    Published(
        name="EDSR full",
        trained_on="DIV2K",
        source=_EDSR_PYTORCH,
        protocol=_RGB,
        architecture="edsr",
        preset="full",
        figures=_over_scales(35.03, 31.26, 29.25),
    ),
    Published(
        name="WDSR large",
        trained_on="DIV2K",
        source=_FAN,
        protocol=_RGB,
        architecture="wdsr_a",
        preset="wide",
        figures=_over_scales(35.06, 31.34, 29.33),
    ),
    Published(
        name="RRDB",
        trained_on="DF2K",
        source="Wang et al. 2018",
        protocol=_Y,
        architecture="rrdb",
        preset="paper",
        figures=_x4(32.73, 28.99, 27.85, 27.03),
    ),
)


def beside(report: EvalReport) -> tuple[Beside, ...]:
    """The published figures that can be compared with those of `report`, by PSNR; none where `doubt` has a reason."""
    return () if doubt(report) else tuple(sorted(_matching(report), key=lambda each: each.psnr))


def doubt(report: EvalReport) -> str | None:
    """Why the images are not those that the published figures are of, if bicubic tells so; None else."""
    theirs = next((each for each in _matching(report) if each.architecture == BASELINE), None)
    if theirs is None or BASELINE not in report.models:
        return None
    ours = report.mean(BASELINE).psnr
    if abs(ours - theirs.psnr) <= NEAR_DB:
        return None
    return (
        f"no published figures: bicubic has {ours:.2f} dB here and {theirs.psnr:.2f} dB in the tables of "
        f"{report.test_set} x{report.scale}, so these are other images"
    )


def counterpart(report: EvalReport, model: str) -> Beside | None:
    """The published figure of the network that `model` is, if there is one; self-ensembles have none here."""
    facts = report.facts.get(model)
    if facts is None or facts.architecture is None or facts.ensemble:
        return None
    found = (each for each in beside(report) if each.architecture == facts.architecture)
    return next((each for each in found if each.preset in {None, facts.preset}), None)


def _matching(report: EvalReport) -> Iterator[Beside]:
    if report.degradation != "bicubic":
        return
    for entry in TABLE:
        figures = entry.figures.get(report.test_set, {}).get(report.scale)
        if figures is not None and entry.protocol == report.protocol.name:
            yield Beside(
                name=entry.name,
                psnr=figures[0],
                ssim=figures[1],
                trained_on=entry.trained_on,
                source=entry.source,
                architecture=entry.architecture,
                preset=entry.preset,
            )
