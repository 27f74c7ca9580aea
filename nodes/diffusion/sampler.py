"""What a sampler is: a function that takes x from sigmas[0] to sigmas[-1] with the help of a denoiser.

All samplers share one signature, sample(denoised, x, sigmas, noise, report, **options), and one loop order: call the
denoiser, report, step, add noise. x is [B, ...] in the variance-exploding convention x = x0 + sigma * noise, any
floating dtype and device; `sigmas` is on the CPU, strictly descending, and usually ends with 0; with fewer than two, x
is the result. Options are numbers, and a sampler names those that it takes among its facts; one with the fact
`unguided` also takes an `Unguided`. Coefficients are Python floats, so that the loop never waits for a device.
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

# What each option is where nothing is said. eta: how much of the noise of the process is put back at each step, 0 makes
# the sampler deterministic. s_noise: the deviation of the noise that is added. churn: by which share of sigma the noise
# is raised before each step (gamma in algorithm 2 of Karras et al. 2022).
OPTIONS = {"eta": 1.0, "s_noise": 1.0, "churn": 0.0}
MOST_CHURN = 2**0.5 - 1


class Sample(Protocol):
    """A sampler's function."""

    def __call__(  # noqa: D102
        self, denoised: Denoised, x: Tensor, sigmas: Tensor, noise: StepNoise, report: Report, **options: Any
    ) -> Tensor: ...


class Unguided:
    """What the negative alone predicted at the denoiser's last call, for samplers whose fact `unguided` asks for it."""

    def __init__(self) -> None:
        self._x0: Tensor | None = None

    def note(self, x0: Tensor) -> None:
        """The denoiser was called."""
        self._x0 = x0

    def __call__(self) -> Tensor:
        """The prediction of x0, shaped like x."""
        assert self._x0 is not None, "the denoiser was not called"
        return self._x0


def churned(x: Tensor, sigmas: Tensor, i: int, noise: StepNoise, churn: float, s_noise: float) -> tuple[Tensor, Tensor]:
    """x raised to a higher sigma by fresh noise, and that sigma: the first lines of algorithm 2, Karras et al. 2022."""
    if churn == 0:
        return x, sigmas[i]
    sigma_hat = sigmas[i] * (1 + churn)
    up = (sigma_hat**2 - sigmas[i] ** 2).sqrt().item()
    return x + noise(sigmas[i], sigmas[i + 1]) * (up * s_noise), sigma_hat


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler with what must be known to run it.

    `noise` is the kind of step noise that it draws; `discard_penultimate` belongs to its sigmas (see
    `schedules.sigmas_for`); `options` are those of `OPTIONS` that it takes; `kept_seed` is what the comfyui rules add
    to the seed for the noise on what a mask keeps; `unguided` says that it takes an `Unguided`; `evaluations`
    counts model calls per step, for progress and the time left (exact but for the first or the last step, where a
    sampler may take one more or less).
    """

    name: str
    sample: Sample
    noise: NoiseKind = "none"
    discard_penultimate: bool = False
    evaluations: int = 1
    options: tuple[str, ...] = ()
    kept_seed: int = 0
    unguided: bool = False
