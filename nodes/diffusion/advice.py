"""Warnings for sampling settings that do not suit the way in which a model was trained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from latentloom.engine import Conditioning, Context, Model

TO_PURE_NOISE = ("simple", "sgm_uniform", "normal", "beta")
"""Schedules that suit a model whose training ended in pure noise (Lin et al. 2024, table 2)."""

MOST_STEPS, MOST_CFG = 12, 3.0  # the largest values that are usual with a few-step model


@dataclass(frozen=True, slots=True)
class FewSteps:
    """A distillation method for few-step models, recognised by file names."""

    title: str
    name: str  # a regular expression for the file name
    settings: str


FEW_STEPS = (
    FewSteps("LCM", r"lcm", "4 to 8 steps, cfg 1 to 2, sampler lcm, schedule sgm_uniform"),
    FewSteps("Lightning", r"lightning", "2 to 8 steps, cfg 1, sampler euler, schedule sgm_uniform"),
    FewSteps("Turbo", r"turbo", "1 to 4 steps, cfg 1, sampler euler_ancestral, schedule simple"),
    FewSteps("Hyper-SD", r"hyper[-_ ]?sd", "1 to 8 steps, cfg 1, sampler euler, schedule sgm_uniform"),
    FewSteps("DMD2", r"dmd2?", "4 steps, cfg 1, sampler lcm, schedule sgm_uniform"),
)


FOR_WIDE_SIGMAS = ("karras", "exponential", "kl_optimal", "laplace")
"""Schedules designed for sigmas that span three orders of magnitude. The sigmas of flow matching do not."""


def warn_of_schedule(ctx: Context, model: Model, schedule: str) -> None:
    """Warn if a schedule does not suit a model with zero terminal SNR or a flow matching model."""
    if model.info.get("prediction") == "flow" and schedule in FOR_WIDE_SIGMAS:
        ctx.warn(
            "schedule_for_flow",
            f"the schedule '{schedule}' spends nearly all steps at very low noise with a flow-matching model: "
            "use 'simple', 'beta', 'normal' or 'sgm_uniform'",
        )
    if model.info.get("zero_snr") and schedule not in TO_PURE_NOISE:
        good = ", ".join(f"'{name}'" for name in TO_PURE_NOISE)
        ctx.warn(
            "schedule_for_zero_snr",
            f"the schedule '{schedule}' does not suit a model that was trained with zero terminal SNR: "
            f"use one of {good}",
        )


def warn_of_guidance(ctx: Context, model: Model, *conditionings: Conditioning) -> None:
    """Warn if a conditioning has embedded guidance that the model ignores, because it is not guidance-distilled."""
    if "guidance" not in model.info and any(
        "guidance" in one.extra for found in conditionings for one in found.entries
    ):
        ctx.warn(
            "guidance_not_told",
            f"'{model.files[0].name if model.files else 'this model'}' has no guidance input, so EmbeddedGuidance "
            "has no effect: use the sampler's cfg",
        )


def warn_of_steps(ctx: Context, model: Model, steps: int, cfg: float) -> None:
    """Warn of many steps or a high cfg with a model or LoRA whose file name says that it is for few steps."""
    if steps <= MOST_STEPS and cfg <= MOST_CFG:
        return
    files = [*model.files, *(file for patch in model.patches if patch.kind == "lora" for file in patch.files)]
    for name in (file.name for file in files):
        kind = few_steps(name)
        if kind is not None:
            ctx.warn(
                "few_step_model",
                f"'{name}' is a few-step model, judging by its name ({kind.title}: {kind.settings}), "
                f"but it runs with {steps} steps and cfg {cfg:g}",
            )


def few_steps(name: str) -> FewSteps | None:
    """Return the few-step method that a file name names, or None."""
    stem = PurePosixPath(name).name.lower()
    return next((kind for kind in FEW_STEPS if re.search(rf"(?<![a-z]){kind.name}(?![a-z])", stem)), None)
