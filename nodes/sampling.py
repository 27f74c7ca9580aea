"""The sampling nodes: from noise to a latent, guided by conditioning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from latentloom.engine import Conditioning, Context, Image, Latent, Model, Seed, Source, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.controls import Controls
from latentloom.nodes.fitting import check_fit
from latentloom.nodes.loaders import vae_beside
from latentloom.nodes.vae import decode

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion import Report

Steps = Annotated[int, Field(ge=1, le=10_000, description="How many steps from noise to picture.")]
Cfg = Annotated[
    float, Field(ge=0, le=100, description="How strongly the prompt guides; 1 = no guidance, and twice as fast.")
]
SamplerName = Annotated[str, Source("samplers"), Field(description="The method that goes from noise to picture.")]
ScheduleName = Annotated[str, Source("schedules"), Field(description="How much noise is left at each step.")]
Rule = Annotated[
    Literal["per_item", "comfyui"],
    Field(description="per_item: picture i of a batch is that of seed + i. comfyui: noise as ComfyUI draws it."),
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the sampling nodes agree on before they sample."""

    sampler: str
    sigmas: Tensor
    seed: int
    noise_rule: Literal["per_item", "comfyui"]
    cfg: float
    add_noise: bool = True


@node("KSampler", category="sampling", device=True)
def ksampler(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    denoise: Annotated[
        float, Field(ge=0, le=1, description="1 = from pure noise; less keeps more of the latent.")
    ] = 1.0,
    noise_rule: Rule = "per_item",
) -> Latent:
    """Denoise a latent with a sampler and a schedule, guided by two conditionings (classifier-free guidance)."""
    sigmas = sigmas_of(ctx, model, sampler, schedule, steps, denoise)
    return sample_latent(ctx, model, positive, negative, latent, Plan(sampler, sigmas, seed, noise_rule, cfg))


@node("KSamplerAdvanced", category="sampling", device=True)
def ksampler_advanced(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    add_noise: Annotated[bool, Field(description="Begin with noise; no, to go on with a latent that has it.")] = True,
    start_step: Annotated[int, Field(ge=0, le=10_000, description="The first step to run.")] = 0,
    end_step: Annotated[
        int, Field(ge=0, le=10_000, description="Run up to this step; beyond steps: to the end.")
    ] = 10_000,
    leftover_noise: Annotated[bool, Field(description="Leave the noise of the steps that were not run.")] = False,
    noise_rule: Rule = "per_item",
) -> Latent:
    """Run some of a schedule's steps, so that several samplers or models can share one picture."""
    sigmas = sigmas_of(ctx, model, sampler, schedule, steps, 1.0)
    if end_step < len(sigmas) - 1:
        sigmas = sigmas[: end_step + 1].clone()
        sigmas[-1] = sigmas[-1] if leftover_noise else 0
    sigmas = sigmas[start_step:]
    return sample_latent(
        ctx, model, positive, negative, latent, Plan(sampler, sigmas, seed, noise_rule, cfg, add_noise)
    )


def table_of(model: Model) -> Tensor:
    """The model's sigmas, ascending, one for each timestep that it was trained on."""
    from latentloom.nodes.diffusion import scaled_linear_table, zero_snr_table

    start, end, count = model.info["betas"]
    table = scaled_linear_table(start, end, count)
    return zero_snr_table(table) if model.info.get("zero_snr") else table


def sigmas_of(ctx: Context, model: Model, sampler: str, schedule: str, steps: int, denoise: float) -> Tensor:
    """The sigmas of a run."""
    from latentloom.nodes.diffusion import sigmas_for

    facts = ctx.facts("sampler", sampler)
    return sigmas_for(
        ctx.lookup("schedule", schedule), steps, table_of(model), denoise, facts.get("discard_penultimate", False)
    )


def sample_latent(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    plan: Plan,
    observe: Report | None = None,
) -> Latent:
    """Denoise `latent` along the plan's sigmas. Latents are unscaled outside, scaled inside.

    `observe` is called once per step, with scaled tensors.
    """
    import torch

    from latentloom.nodes.diffusion import composite, first_noise, initial_latent, masked, step_noise

    if len(plan.sigmas) < 2:
        return latent
    check_channels(model, latent)
    check_fit(model, positive, negative)
    _check_entries(positive, negative)
    scale, table = model.info["scaling_factor"], table_of(model)
    noise = first_noise(latent.shape, plan.seed, plan.noise_rule) if plan.add_noise else torch.zeros(latent.shape)
    controls = Controls(model, (positive, negative))
    with ctx.load(model, *controls.handles) as (unet, *nets):
        controls.loaded(nets)
        device = unet.device
        start = (latent.tensor() * scale).to(device)
        noise = noise.to(device)
        denoised = _denoised(unet, model, positive, negative, plan.cfg, table, controls, latent)
        mask = _mask(latent, device)
        if mask is not None:
            denoised = masked(denoised, mask, start, noise)
        x = initial_latent(noise, start, plan.sigmas[0], table[-1])
        kind = ctx.facts("sampler", plan.sampler).get("noise", "none")
        steps = step_noise(kind, latent.shape, plan.seed, plan.noise_rule, plan.sigmas, device=device)
        report = _report(ctx, model, len(plan.sigmas) - 1, observe)
        x = ctx.lookup("sampler", plan.sampler)(denoised, x, plan.sigmas, steps, report)
    found = x.cpu() / scale
    if mask is not None:
        found = composite(found, mask.cpu(), latent.tensor())
    return Latent(found, latent.noise_mask, downscale=latent.downscale)


def check_channels(model: Model, latent: Latent) -> None:
    """Raise BadValueError for a latent that the model cannot take."""
    if latent.shape[1] != model.info["channels"]:
        raise BadValueError(
            "the latent does not fit the model",
            expected=f"{model.info['channels']} channels",
            got=f"{latent.shape[1]} channels",
        )


def _check_entries(*conditionings: Conditioning) -> None:
    for found in conditionings:
        if len(found.entries) != 1:
            raise BadValueError("the conditioning has several entries", expected="1", got=str(len(found.entries)))


def _denoised(
    unet: Any,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
    table: Tensor,
    controls: Controls,
    latent: Latent,
) -> Callable[[Tensor, Tensor], Tensor]:
    from latentloom.nodes.diffusion import guided, prediction

    dtype, device = unet.dtype, unet.device  # diffusers looks through all weights for these

    def network(x: Tensor, timestep: Tensor, *, context: Tensor, **control: Tensor) -> Tensor:
        x = x.to(dtype)
        residuals = controls.residuals(x, timestep, context, control)
        output: Tensor = unet(x, timestep, encoder_hidden_states=context, return_dict=False, **residuals)[0]
        return output

    def condition(found: Conditioning) -> dict[str, Tensor]:
        context = found.entries[0].embedding.tensor().to(device, dtype)
        return {"context": context, **controls.inputs(found.entries[0], latent.shape, latent.downscale, context)}

    predict = prediction(network, model.info["prediction"], table)
    return guided(predict, condition(positive), condition(negative), cfg)


def _mask(latent: Latent, device: Any) -> Tensor | None:
    """The noise mask at the latent's size, [B, 1, h, w]."""
    import torch

    if latent.noise_mask is None:
        return None
    mask = latent.noise_mask.tensor()[:, None]
    return torch.nn.functional.interpolate(mask, latent.shape[2:], mode="area").to(device)


def _report(ctx: Context, model: Model, total: int, observe: Report | None) -> Report:
    """Progress, with what the model sees of the first picture where its VAE is small enough to decode that."""

    def report(index: int, x: Tensor, denoised: Tensor) -> None:
        if observe is not None:
            observe(index, x, denoised)
        ctx.progress(index + 1, total, (lambda: _preview(ctx, model, denoised)) if model.info["preview"] else None)

    return report


def _preview(ctx: Context, model: Model, denoised: Tensor) -> Image:
    latent = Latent(denoised[:1] / model.info["scaling_factor"], downscale=model.info["downscale"])
    return decode(ctx, vae_beside(model.model_kind, model.files, model.info), latent)


NODES = (ksampler, ksampler_advanced)
