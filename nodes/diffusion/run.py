"""One sampling run: a model, conditions and noise put together and taken along a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from latentloom.engine import Conditioning, Context, Image, Latent, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.advice import warn_of_steps
from latentloom.nodes.diffusion.conditions import AESTHETIC, AESTHETIC_NEGATIVE, EntryMaker, check_conditioning
from latentloom.nodes.diffusion.control_residuals import Controls
from latentloom.nodes.diffusion.latent_mask import cells_of
from latentloom.nodes.diffusion.plan import Plan, kept_noise, noise_of_steps, sampler_options, starting_noise, table_of
from latentloom.nodes.diffusion.shared_areas import shared_areas
from latentloom.nodes.diffusion.steering import Innermost, Steering, sampling_patches
from latentloom.nodes.diffusion.vae import decode
from latentloom.nodes.drawing.limits import warn_of_size
from latentloom.nodes.families.stable_diffusion.facts import vae_beside

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.prediction import Network
    from latentloom.nodes.diffusion.sampler import Denoised, Report


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
    from latentloom.nodes.diffusion.prediction import initial_latent

    if len(plan.sigmas) < 2:
        return latent
    check_channels(model, latent)
    check_conditioning(model, latent, positive, negative)
    warn_of_steps(ctx, model, plan.steps, plan.cfg)
    options, noise = sampler_options(ctx, plan), starting_noise(latent, plan)
    positive, negative = shared_areas(positive, negative)
    scale, table = model.info["scaling_factor"], table_of(model)
    if plan.sigmas[0] > 0.9 * table[-1]:  # from noise alone
        warn_of_size(ctx, model, latent)
    controls = Controls(model, (positive, negative))
    with ctx.load(model, *controls.handles) as (unet, *nets), ExitStack() as hooks:
        controls.loaded(unet, nets)
        device = unet.device
        start, noise = (latent.tensor() * scale).to(device), noise.to(device)
        kept = noise if latent.noise_mask is None else kept_noise(ctx, latent, plan, noise)
        steering = _steering((unet, *nets), model, positive, negative, latent, plan, controls, hooks)
        for patch in sampling_patches(ctx, model):
            ctx.lookup("patch", patch.kind)(steering, patch)
        mask = _mask(latent, device)
        batch = latent.shape[0]
        most = (None, batch, batch if steering.joint else 1)[ctx.economy]
        denoised = _denoised(steering, mask, start, kept, most)
        x = initial_latent(noise, start, plan.sigmas[0], table[-1])
        steps = noise_of_steps(ctx, latent, plan, float(table[-1].float()), device)
        report = _report(ctx, model, len(plan.sigmas) - 1, observe)
        x = ctx.lookup("sampler", plan.sampler)(denoised, x, plan.sigmas, steps, report, **options)
    found = x.cpu() / scale
    if mask is not None:
        found = restored(found, mask.cpu(), latent.tensor())
    return Latent(found, latent.noise_mask, downscale=latent.downscale)


def check_channels(model: Model, latent: Latent) -> None:
    """Raise BadValueError for a latent that the model cannot take."""
    if latent.shape[1] != model.info["channels"]:
        raise BadValueError(
            "the latent does not fit the model",
            expected=f"{model.info['channels']} channels",
            got=f"{latent.shape[1]} channels",
        )


def _steering(
    networks: Sequence[Any],
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    plan: Plan,
    controls: Controls,
    hooks: ExitStack,
) -> Steering:
    """Plain classifier-free guidance, for the patches to change."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.guidance import classifier_free
    from latentloom.nodes.diffusion.prediction import prediction

    unet, table = networks[0], table_of(model)
    entries = EntryMaker(model, latent, unet.device, unet.dtype, controls)
    predict = Innermost(prediction(_network(unet, controls), model.info["prediction"], table))
    branches = {
        "positive": Branch(entries(positive, AESTHETIC), predict),
        "negative": Branch(entries(negative, AESTHETIC_NEGATIVE), predict),
    }
    return Steering(
        module=unet,
        networks=networks,
        inner=predict,
        branches=branches,
        rule=classifier_free(plan.cfg),
        cfg=plan.cfg,
        entries=entries,
        hooks=hooks,
        downscale=latent.downscale,
        cells=latent.shape[2:],
        table=table,
        timeline=plan.timeline(),
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


def _denoised(steering: Steering, mask: Tensor | None, start: Tensor, noise: Tensor, most: int | None) -> Denoised:
    from latentloom.nodes.diffusion.guidance import masked, steered

    timeline, repaint = steering.timeline, steering.repaint
    denoised = steered(steering.branches, steering.whole_rule(), timeline, most)
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
