"""Samplers: functions that take x from sigmas[0] to sigmas[-1] by means of a denoiser.

All samplers share one signature, sample(denoised, x, sigmas, noise, report, **options), and one loop order: call the
denoiser, report, step, add noise. x is [B, ...] in the variance-exploding convention x = x0 + sigma * noise, with any
floating dtype and device. `sigmas` is on the CPU, strictly descending, and usually ends with 0; with fewer than two
sigmas the result is x. Options are numbers; a sampler's facts name the options that it supports. A sampler with the
fact `unguided` also receives an `Unguided`. Coefficients are Python floats, so the loop never waits for a device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

# (x, sigma as a tensor of no dimensions on the CPU) -> the prediction of x0, with the shape of x.
Denoised = Callable[[Tensor, Tensor], Tensor]

# (sigma, sigma_next) -> noise of unit variance for that interval, shaped like x, on its device.
StepNoise = Callable[[Tensor, Tensor], Tensor]

# (index of the step, x before the step, its denoised prediction); called once per step, may raise to cancel.
Report = Callable[[int, Tensor, Tensor], None]

NoiseKind = Literal["none", "gaussian", "brownian"]

# The default of each option. eta: the share of the process's noise that each step adds; with 0 the sampler is
# deterministic. s_noise: the standard deviation of the added noise. churn: the share of sigma by which noise is raised
# before each step (gamma in algorithm 2 of Karras et al. 2022).
OPTIONS = {"eta": 1.0, "s_noise": 1.0, "churn": 0.0}
MOST_CHURN = 2**0.5 - 1


class Sample(Protocol):
    """The function of a sampler."""

    def __call__(  # noqa: D102
        self, denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report, **options: Any
    ) -> Tensor: ...


class Unguided:
    """The negative prediction of the denoiser's last call, for samplers with the fact `unguided`."""

    def __init__(self) -> None:
        self._x0: Tensor | None = None

    def note(self, x0: Tensor) -> None:
        """Record the prediction of a denoiser call."""
        self._x0 = x0

    def __call__(self) -> Tensor:
        """Return the prediction of x0, shaped like x."""
        assert self._x0 is not None, "the denoiser was not called"
        return self._x0


def churned(x: Tensor, sigmas: Tensor, i: int, noise: StepNoise, churn: float, s_noise: float) -> tuple[Tensor, Tensor]:
    """Raise x to a higher sigma with new noise; return x and that sigma (Karras et al. 2022, algorithm 2)."""
    if churn == 0:
        return x, sigmas[i]
    sigma_hat = sigmas[i] * (1 + churn)
    up = (sigma_hat**2 - sigmas[i] ** 2).sqrt().item()
    return x + noise(sigmas[i], sigmas[i + 1]) * (up * s_noise), sigma_hat


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler with the facts that are needed to run it.

    `noise` is the kind of its step noise. `discard_penultimate` applies to its sigmas (see `schedules.sigmas_for`).
    `options` are the `OPTIONS` that it supports. `kept_seed` is the number that the comfyui rules add to the seed for
    the noise of the part that a mask keeps. `unguided` means that it receives an `Unguided`. `evaluations` is the
    number of model calls per step, for progress and the remaining time; the first or the last step may need one more
    or one less.
    """

    name: str
    sample: Sample
    noise: NoiseKind = "none"
    discard_penultimate: bool = False
    evaluations: int = 1
    options: tuple[str, ...] = ()
    kept_seed: int = 0
    unguided: bool = False
