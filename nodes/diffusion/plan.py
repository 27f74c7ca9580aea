"""The plan of a run, made before a model is loaded: its sigmas, its noise and its sampler's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentloom.engine import Context, Latent, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.advice import warn_of_schedule
from latentloom.nodes.diffusion.space import Space, finished, space_of
from latentloom.nodes.diffusion.timeline import Timeline

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.coordinates import Coordinates
    from latentloom.nodes.diffusion.noise import NoiseRule
    from latentloom.nodes.diffusion.sampler import StepNoise


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of one sampling run."""

    sampler: str
    sigmas: Tensor
    seed: int
    noise_rule: NoiseRule
    cfg: float
    add_noise: bool = True
    noise: Latent | None = None  # replaces the noise drawn from the seed
    whole: Tensor | None = None  # the sigmas of the whole run, if this is a part of it
    first: int = 0  # the number of the first step in the whole run
    options: Mapping[str, float] = field(default_factory=dict)  # see `sampler.OPTIONS`

    def timeline(self, space: Space) -> Timeline:
        """Return the steps of the whole run by sigma. With churn the denoiser is called above the plan's sigmas."""
        whole = self._whole.tolist()
        called = space.raised(self.sigmas, self.churn)
        return Timeline(called.tolist(), self.first, len(whole) - 1, (whole[0], whole[-1]))

    @property
    def steps(self) -> int:
        """The number of steps of the whole run."""
        return len(self._whole) - 1

    @property
    def _whole(self) -> Tensor:
        return self.sigmas if self.whole is None else self.whole

    @property
    def churn(self) -> float:
        """The churn of one step (Karras et al. 2022: S_churn / N, at most sqrt(2) - 1)."""
        from latentloom.nodes.diffusion.sampler import MOST_CHURN

        return min(self.options.get("churn", 0.0) / max(len(self._whole) - 1, 1), MOST_CHURN)


def sigmas_of(
    ctx: Context, model: Model, sampler: str, schedule: str, steps: int, denoise: float, latent: Latent | None = None
) -> Tensor:
    """Return the sigmas of a run for a latent, or for the model's training size if there is none."""
    warn_of_schedule(ctx, model, schedule)
    facts = ctx.facts("sampler", sampler)
    return schedule_of(ctx, model, schedule, steps, denoise, latent, facts.get("discard_penultimate", False))


def schedule_of(
    ctx: Context,
    model: Model,
    schedule: str,
    steps: int,
    denoise: float = 1.0,
    latent: Latent | None = None,
    discard_penultimate: bool = False,
) -> Tensor:
    """Return the sigmas of a schedule for a model; see `schedules.sigmas_for`."""
    from latentloom.nodes.diffusion.schedules import sigmas_for

    whole = int(steps / denoise) if 0 < denoise < 1 else steps  # the schedule of which the run takes the end
    table = space_of(model, None if latent is None else cells_for(model, latent), whole).table
    sigmas = sigmas_for(ctx.lookup("schedule", schedule), steps, table, denoise, discard_penultimate)
    return finished(model.info, sigmas)


def cells_for(model: Model, latent: Latent) -> tuple[int, int]:
    """Return the height and width of a latent in the model's cells, which may be larger than an empty latent's.

    Raises BadValueError for sides that are no whole number of them.
    """
    step = model.info.get("downscale", latent.downscale)
    sides = [side * latent.downscale for side in latent.shape[2:]]
    if any(side % step for side in sides):
        raise BadValueError(
            f"the sides of the picture are no multiples of {step}",
            expected="x".join(str(-(-side // step) * step) for side in reversed(sides)),
            got="x".join(str(side) for side in reversed(sides)),
        )
    return sides[0] // step, sides[1] // step


def sampler_options(ctx: Context, plan: Plan) -> dict[str, float]:
    """Return the sampler's options. Raises BadValueError for an option that the sampler does not support."""
    from latentloom.nodes.diffusion.sampler import OPTIONS

    said = {name: value for name, value in plan.options.items() if value != OPTIONS[name]}
    known = ctx.facts("sampler", plan.sampler).get("options", ())
    for name, value in said.items():
        if name not in known:
            raise BadValueError(
                f"the sampler '{plan.sampler}' takes no {name}",
                expected=f"{OPTIONS[name]:g}, or a sampler that takes it (docs/samplers.md)",
                got=f"{value:g}",
            )
    return {**said, "churn": plan.churn} if "churn" in said else said


def starting_noise(latent: Latent, plan: Plan) -> Tensor:
    """Return the noise that a run starts from, on the CPU."""
    import torch

    from latentloom.nodes.diffusion.noise import first_noise

    if not plan.add_noise:
        return torch.zeros(latent.shape)
    if plan.noise is None:
        return first_noise(latent.shape, plan.seed, plan.noise_rule)
    check_noise(latent, plan.noise)
    return plan.noise.tensor().expand(latent.shape)


def kept_noise(ctx: Context, latent: Latent, plan: Plan, noise: Tensor) -> Tensor:
    """Return the noise for the part that a mask keeps: the first noise, which the second part of a run draws again."""
    from latentloom.nodes.diffusion.noise import first_noise

    if plan.noise_rule == "per_item":
        return noise if plan.add_noise else first_noise(latent.shape, plan.seed).to(noise)
    more = ctx.facts("sampler", plan.sampler).get("kept_seed", 0)
    return first_noise(latent.shape, (plan.seed + more) % 2**64, plan.noise_rule).to(noise) if more else noise


def stochastic(ctx: Context, plan: Plan) -> bool:
    """Whether the sampler adds noise at its steps, or combines x0 with the noise of another prediction (CFG++)."""
    facts = ctx.facts("sampler", plan.sampler)
    return bool(plan.churn) or facts.get("noise", "none") != "none" or bool(facts.get("unguided"))


def noise_of_steps(ctx: Context, latent: Latent, plan: Plan, coordinates: Coordinates, device: Any) -> StepNoise:
    """Return the noise that the sampler adds at its steps."""
    from latentloom.nodes.diffusion.noise import step_noise

    kind = "gaussian" if plan.churn else ctx.facts("sampler", plan.sampler).get("noise", "none")
    sigmas, largest = coordinates.sigmas, coordinates.largest
    return step_noise(kind, latent.shape, plan.seed, plan.noise_rule, sigmas, largest=largest, device=device)


def check_noise(latent: Latent, noise: Latent) -> None:
    """Raise BadValueError for noise that does not fit a latent; noise of one item is used for a whole batch."""
    if noise.shape[1:] != latent.shape[1:] or noise.shape[0] not in (1, latent.shape[0]):
        raise BadValueError(
            "the noise has another size than the latent",
            expected=str(list(latent.shape)),
            got=str(list(noise.shape)),
        )
