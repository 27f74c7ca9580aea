"""What a sampler is: a function that takes x from sigmas[0] to sigmas[-1] with the help of a denoiser.

All samplers share one signature, sample(denoised, x, sigmas, noise, report), and one loop order: call the denoiser,
report, step, add noise. x is [B, ...] in the variance-exploding convention x = x0 + sigma * noise, any floating dtype
and device; `sigmas` is on the CPU, strictly descending, and usually ends with 0; with fewer than two, x is the result.
Coefficients are Python floats, so that the loop never waits for a device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

# (x, sigma as a tensor of no dimensions on the CPU) -> the prediction of x0, with the shape of x.
Denoised = Callable[[Tensor, Tensor], Tensor]

# (sigma, sigma_next) -> noise of unit variance for that interval, shaped like x, on its device.
StepNoise = Callable[[Tensor, Tensor], Tensor]

# (index of the step, x before the step, its denoised prediction); called once per step, may raise to cancel.
Report = Callable[[int, Tensor, Tensor], None]

Sample = Callable[[Denoised, Tensor, Tensor, StepNoise, Report], Tensor]

NoiseKind = Literal["none", "gaussian", "brownian"]


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler with what must be known to run it.

    `noise` is the kind of step noise that it draws; `discard_penultimate` belongs to its sigmas (see
    `schedules.sigmas_for`); `evaluations` counts model calls per step, for progress and the time left (exact but for
    the first or the last step, where a sampler may take one more or less).
    """

    name: str
    sample: Sample
    noise: NoiseKind = "none"
    discard_penultimate: bool = False
    evaluations: int = 1
