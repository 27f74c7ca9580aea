"""One sampling run: a model, conditions and noise put together and taken along a schedule."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from latentloom.engine import Conditioning, Context, Image, Latent, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.conditions import EntryMaker, check_conditioning
from latentloom.nodes.diffusion.control_residuals import Controls
from latentloom.nodes.diffusion.latent_mask import cells_of
from latentloom.nodes.diffusion.steering import Steering, sampling_patches
from latentloom.nodes.diffusion.vae import decode
from latentloom.nodes.drawing.limits import warn_of_size
from latentloom.nodes.families.stable_diffusion.facts import vae_beside

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.prediction import Network
    from latentloom.nodes.diffusion.sampler import Denoised, Report


@dataclass(frozen=True, slots=True)
class Plan:
    """What the sampling nodes agree on before they sample."""

    sampler: str
    sigmas: Tensor
    seed: int
    noise_rule: Literal["per_item", "comfyui"]
    cfg: float
    add_noise: bool = True
    noise: Latent | None = None  # instead of what the seed draws
    first: int = 0  # of the steps of a longer run, which `total` counts
    total: int | None = None


def table_of(model: Model) -> Tensor:
    """The model's sigmas, ascending, one for each timestep that it was trained on."""
    from latentloom.nodes.diffusion.schedules import scaled_linear_table, zero_snr_table

    start, end, count = model.info["betas"]
    table = scaled_linear_table(start, end, count)
    return zero_snr_table(table) if model.info.get("zero_snr") else table


def sigmas_of(ctx: Context, model: Model, sampler: str, schedule: str, steps: int, denoise: float) -> Tensor:
    """The sigmas of a run."""
    from latentloom.nodes.diffusion.schedules import sigmas_for

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
    from latentloom.nodes.diffusion.guidance import restored
    from latentloom.nodes.diffusion.noise import step_noise
    from latentloom.nodes.diffusion.prediction import initial_latent

    if len(plan.sigmas) < 2:
        return latent
    check_channels(model, latent)
    check_conditioning(model, latent, positive, negative)
    noise = _first_noise(latent, plan)
    scale, table = model.info["scaling_factor"], table_of(model)
    if plan.sigmas[0] > 0.9 * table[-1]:  # from noise alone
        warn_of_size(ctx, model, latent)
    controls = Controls(model, (positive, negative))
    with ctx.load(model, *controls.handles) as (unet, *nets), ExitStack() as hooks:
        controls.loaded(unet, nets)
        device = unet.device
        start, noise = (latent.tensor() * scale).to(device), noise.to(device)
        steering = _steering(unet, model, positive, negative, latent, plan.cfg, controls, hooks)
        for patch in sampling_patches(ctx, model):
            ctx.lookup("patch", patch.kind)(steering, patch)
        mask = _mask(latent, device)
        batch = latent.shape[0]
        most = (None, batch, batch if steering.joint else 1)[ctx.economy]
        denoised = _denoised(steering, plan, mask, start, noise, most)
        x = initial_latent(noise, start, plan.sigmas[0], table[-1])
        kind = ctx.facts("sampler", plan.sampler).get("noise", "none")
        steps = step_noise(kind, latent.shape, plan.seed, plan.noise_rule, plan.sigmas, device=device)
        report = _report(ctx, model, len(plan.sigmas) - 1, observe)
        x = ctx.lookup("sampler", plan.sampler)(denoised, x, plan.sigmas, steps, report)
    found = x.cpu() / scale
    if mask is not None:
        found = restored(found, mask.cpu(), latent.tensor())
    return Latent(found, latent.noise_mask, downscale=latent.downscale)


def _first_noise(latent: Latent, plan: Plan) -> Tensor:
    """The noise that a run starts from, on the CPU."""
    import torch

    from latentloom.nodes.diffusion.noise import first_noise

    if not plan.add_noise:
        return torch.zeros(latent.shape)
    if plan.noise is None:
        return first_noise(latent.shape, plan.seed, plan.noise_rule)
    check_noise(latent, plan.noise)
    return plan.noise.tensor().expand(latent.shape)


def check_noise(latent: Latent, noise: Latent) -> None:
    """Raise BadValueError for noise that does not fit a latent; noise of one item is for each of a batch."""
    if noise.shape[1:] != latent.shape[1:] or noise.shape[0] not in (1, latent.shape[0]):
        raise BadValueError(
            "the noise has another size than the latent",
            expected=str(list(latent.shape)),
            got=str(list(noise.shape)),
        )


def check_channels(model: Model, latent: Latent) -> None:
    """Raise BadValueError for a latent that the model cannot take."""
    if latent.shape[1] != model.info["channels"]:
        raise BadValueError(
            "the latent does not fit the model",
            expected=f"{model.info['channels']} channels",
            got=f"{latent.shape[1]} channels",
        )


def _steering(
    unet: Any,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    cfg: float,
    controls: Controls,
    hooks: ExitStack,
) -> Steering:
    """Plain classifier-free guidance, for the patches to change."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.guidance import classifier_free
    from latentloom.nodes.diffusion.prediction import prediction

    entries = EntryMaker(model, latent, unet.device, unet.dtype, controls)
    predict = prediction(_network(unet, controls), model.info["prediction"], table_of(model))
    branches = {
        name: Branch(entries(found), predict) for name, found in (("positive", positive), ("negative", negative))
    }
    return Steering(
        unet, predict, branches, classifier_free(cfg), cfg, entries, hooks, latent.downscale, latent.shape[2:]
    )


def _network(unet: Any, controls: Controls) -> Network:
    """The one place where the network is called, with all that an entry tells it."""
    import torch

    dtype = unet.dtype  # diffusers looks through all weights for it

    def network(x: Tensor, timestep: Tensor, /, **condition: Tensor) -> Tensor:
        x = x.to(dtype)
        added = {name: condition[name] for name in ("text_embeds", "time_ids") if name in condition}
        residuals = controls.residuals(x, timestep, condition["context"], condition, added_cond_kwargs=added or None)
        if "concat" in condition:
            x = torch.cat([x, condition["concat"]], dim=1)
        output: Tensor = unet(
            x,
            timestep,
            encoder_hidden_states=condition["context"],
            added_cond_kwargs=added or None,
            return_dict=False,
            **residuals,
        )[0]
        return output

    return network


def _denoised(
    steering: Steering, plan: Plan, mask: Tensor | None, start: Tensor, noise: Tensor, most: int | None
) -> Denoised:
    from latentloom.nodes.diffusion.guidance import masked, steered
    from latentloom.nodes.diffusion.timeline import Timeline

    timeline = Timeline(plan.sigmas.tolist(), plan.first, plan.total)
    denoised = steered(steering.branches, steering.rule, timeline, most)
    repaint = steering.repaint
    if mask is None:
        return denoised
    if repaint is None:
        return masked(denoised, mask, start, noise)
    return masked(denoised, lambda sigma: repaint(mask, timeline.at(sigma.item())), start, noise)


def _mask(latent: Latent, device: Any) -> Tensor | None:
    """The noise mask at the latent's size, [B, 1, h, w]."""
    if latent.noise_mask is None:
        return None
    return cells_of(latent.noise_mask.tensor(), latent.shape[2:]).to(device)


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
