"""The ranges from which degradations made here are drawn, each with the source of its default.

`unknown` is one blur and a decimation, as DIV2K's unknown track is believed to be: anisotropic Gaussian kernels with
the range of Bell-Kligler et al. 2019 (KernelGAN, https://arxiv.org/abs/1909.06581, section 5: DIV2KRK), or motion. The
lengths that they draw are variances, 0.175 S to 2.5 S for a scale S in their generator of kernels
(https://github.com/assafshocher/BlindSR_dataset_generator); the range here is its square root.

`second_order` is the chain of blur, resize, noise and JPEG, twice, of Wang et al. 2021 (Real-ESRGAN,
https://arxiv.org/abs/2107.10833, section 3 and the authors' file options/train_realesrgan_x4plus.yml); Zhang et al.
2021 (BSRGAN, https://arxiv.org/abs/2103.14006, section 3) draw from nearly the same ranges, in random order.
"""

import dataclasses
import math

from sr_core.sections import Problems, fractions, spans

MOST_KERNEL = 63  # pixels; larger ones only cost time

Span = tuple[float, float]  # least and most, drawn uniformly between


def _kernel_size(size: int) -> Problems:
    if not (3 <= size <= MOST_KERNEL and size % 2):
        yield "kernel_size", f"is {size}, expected an odd number from 3 to {MOST_KERNEL}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UnknownParams:
    """The synthetic unknown track: one kernel for each image, then every S-th pixel. Lengths are HR pixels."""

    kernel_size: int = 21
    gaussian_sigma: Span = (0.8, 3.2)  # of each axis, for x4; DIV2KRK's
    motion_probability: float = 0.25  # else Gaussian
    motion_length: Span = (3.0, 15.0)

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from _kernel_size(self.kernel_size)
        yield from fractions(self, "motion_probability")
        yield from spans(self, gaussian_sigma=(0.1, math.inf), motion_length=(1, self.kernel_size))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StageParams:
    """One round of blur, resize, noise and JPEG; the defaults are Real-ESRGAN's first."""

    blur_probability: float = 1.0
    sinc_probability: float = 0.1  # of the blur being a sinc filter
    blur_sigma: Span = (0.2, 3.0)
    generalized_beta: Span = (0.5, 4.0)  # shape of generalized Gaussian kernels
    plateau_beta: Span = (1.0, 2.0)  # shape of plateau kernels
    resize_up_probability: float = 0.2
    resize_down_probability: float = 0.7
    resize_scale: Span = (0.15, 1.5)
    gaussian_noise_probability: float = 0.5  # else Poisson
    gaussian_noise: Span = (1.0, 30.0)  # standard deviation, of 255
    poisson_scale: Span = (0.05, 3.0)
    grey_noise_probability: float = 0.4
    jpeg_quality: Span = (30.0, 95.0)

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from fractions(
            self,
            "blur_probability",
            "sinc_probability",
            "resize_up_probability",
            "resize_down_probability",
            "gaussian_noise_probability",
            "grey_noise_probability",
        )
        if self.resize_up_probability + self.resize_down_probability > 1:
            yield (
                "resize_down_probability",
                f"is {self.resize_down_probability}, expected at most 1 together with "
                f"resize_up_probability {self.resize_up_probability}",
            )
        yield from spans(
            self,
            blur_sigma=(0.05, math.inf),
            generalized_beta=(0.1, math.inf),
            plateau_beta=(0.1, math.inf),
            resize_scale=(0.05, 4),
            gaussian_noise=(0, 255),
            poisson_scale=(0, 255),
            jpeg_quality=(1, 100),
        )


SECOND_STAGE = StageParams(
    blur_probability=0.8,
    blur_sigma=(0.2, 1.5),
    resize_up_probability=0.3,
    resize_down_probability=0.4,
    resize_scale=(0.3, 1.2),
    gaussian_noise=(1.0, 25.0),
    poisson_scale=(0.05, 2.5),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SecondOrderParams:
    """The second-order track: two rounds, and a sinc filter before or after the last JPEG."""

    kernel_size: int = 21
    first: StageParams = dataclasses.field(default_factory=StageParams)
    second: StageParams = SECOND_STAGE
    final_sinc_probability: float = 0.8

    def problems(self) -> Problems:
        """Every value out of range."""
        yield from _kernel_size(self.kernel_size)
        yield from fractions(self, "final_sinc_probability")
