"""One sampling run: assembles model, conditions and noise, and runs the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloom.engine import Conditioning, Context, Latent, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.advice import warn_of_guidance, warn_of_steps
from latentloom.nodes.diffusion.conditions import EntryMaker, check_conditioning
from latentloom.nodes.diffusion.control_residuals import Controls
from latentloom.nodes.diffusion.latent_mask import cells_of
from latentloom.nodes.diffusion.plan import (
    Plan,
    cells_for,
    kept_noise,
    noise_of_steps,
    sampler_options,
    starting_noise,
    stochastic,
)
from latentloom.nodes.diffusion.preview import preview_of
from latentloom.nodes.diffusion.shared_areas import in_pixels, shared_areas
from latentloom.nodes.diffusion.space import Space, space_of
from latentloom.nodes.diffusion.steering import Innermost, Steering, sampling_patches
from latentloom.nodes.drawing.limits import warn_of_size
from latentloom.nodes.families.denoiser import Denoiser
from latentloom.nodes.families.latent_scale import scaled, unscaled
from latentloom.nodes.families.stable_diffusion.unet import UNET

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.prediction import Network
    from latentloom.nodes.diffusion.sampler import Denoised, Report, Unguided


def sample_latent(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    plan: Plan,
    observe: Report | None = None,
) -> Latent:
    """Denoise `latent` along the plan's sigmas. The latent and the result are unscaled.

    `observe` is called once per step, with scaled tensors.
    """
    from latentloom.nodes.diffusion.guidance import restored
    from latentloom.nodes.diffusion.sampler import Unguided

    if len(plan.sigmas) < 2:
        return latent
    latent = _widened(model, latent)
    check_channels(model, latent)
    positive, negative = (_in_picture(conditioning, latent) for conditioning in (positive, negative))
    check_conditioning(model, latent, positive, negative)
    warn_of_steps(ctx, model, plan.steps, plan.cfg)
    warn_of_guidance(ctx, model, positive, negative)
    options, noise = sampler_options(ctx, plan), starting_noise(latent, plan)
    positive, negative = shared_areas(positive, negative)
    space = space_of(model, latent.shape[2:], plan.steps)
    first, last = float(plan.sigmas[0]), float(plan.sigmas[-1])
    if first > 0.9 * space.table[-1]:  # starts from pure noise
        warn_of_size(ctx, model, latent)
    denoiser = denoiser_of(ctx, model)
    controls = Controls(model, (positive, negative), unet=denoiser.unet)
    controls.encode(ctx, latent, (positive, negative))
    with ctx.load(model, *controls.handles) as (net, *nets), ExitStack() as hooks:
        controls.loaded(net, nets)
        device, dtype = _place(net)
        start, noise = scaled(latent.tensor(), model.info).to(device), noise.to(device)
        kept = noise if latent.noise_mask is None else kept_noise(ctx, latent, plan, noise)
        entries = EntryMaker(model, latent, denoiser, device, dtype, controls)
        steering = _steering((net, *nets), entries, positive, negative, space, plan, hooks)
        apply_patches(ctx, model, steering, denoiser)
        mask = _mask(latent, device)
        batch = latent.shape[0]
        most = (None, batch, batch if steering.joint else 1)[ctx.economy]
        unguided = Unguided() if ctx.facts("sampler", plan.sampler).get("unguided") else None
        denoised = _denoised(steering, mask, start, kept, most, unguided)
        way = space.coordinates(plan.sigmas, stochastic=stochastic(ctx, plan))
        steps = noise_of_steps(ctx, latent, plan, way, device)
        report = way.report(_report(ctx, model, len(plan.sigmas) - 1, observe))
        x = way.enter(space.start(start, noise, first))
        more = {} if unguided is None else {"unguided": unguided}
        sample = ctx.lookup("sampler", plan.sampler)
        x = sample(way.denoised(denoised), x, way.sigmas, steps, report, **options, **more)
        x = space.left(way.leave(x), last)
        if mask is not None and steering.repaint is not None:
            mask = steering.repaint(mask, steering.timeline.at(float(plan.sigmas[-2])))  # the mask of the last step
    found = unscaled(x.cpu(), model.info)
    if not found.isfinite().all():
        raise _not_finite(f"step {len(plan.sigmas) - 1} of {len(plan.sigmas) - 1}")
    if mask is not None:
        found = restored(found, mask.cpu(), latent.tensor())
    return Latent(found, latent.noise_mask, downscale=latent.downscale)


def _widened(model: Model, latent: Latent) -> Latent:
    """Give an empty latent the model's number of channels and of cells. Other latents are unchanged."""
    import torch

    batch, channels = latent.shape[:2]
    if channels == model.info["channels"] or latent.numpy().any():
        return latent
    empty = torch.zeros(batch, model.info["channels"], *cells_for(model, latent))
    return Latent(empty, latent.noise_mask, downscale=model.info["downscale"])


def _in_picture(conditioning: Conditioning, latent: Latent) -> Conditioning:
    """Return a conditioning whose areas are in pixels of the latent's picture."""
    step, (height, width) = latent.downscale, latent.shape[2:]
    return in_pixels(conditioning, width * step, height * step, step)


def denoiser_of(ctx: Context, model: Model) -> Denoiser:
    """Return the denoiser of a model's kind; the one for a diffusers UNet if the kind has none."""
    found: Denoiser = getattr(ctx.lookup("model_kind", model.model_kind)(), "denoiser", UNET)
    return found


def apply_patches(ctx: Context, model: Model, steering: Steering, denoiser: Denoiser) -> None:
    """Apply the patches of a model to a run. Raises BadValueError for a UNet patch if the network is not a UNet."""
    for patch in sampling_patches(ctx, model):
        if ctx.facts("patch", patch.kind).get("unet") and not denoiser.unet:
            raise _no_unet(model, patch.kind)
        ctx.lookup("patch", patch.kind)(steering, patch)


def _no_unet(model: Model, patch: str) -> BadValueError:
    return BadValueError(
        f"'{patch}' works on the layers of a UNet, which this model does not have",
        expected="a model of SD 1.x, SD 2.x or SDXL",
        got=model.info.get("family", model.model_kind),
        hint="remove its node from the chain of the model",
    )


def check_channels(model: Model, latent: Latent) -> None:
    """Raise BadValueError for a latent with the wrong number of channels, or larger than the model supports."""
    if latent.shape[1] != model.info["channels"]:
        raise BadValueError(
            "the latent does not fit the model",
            expected=f"{model.info['channels']} channels",
            got=f"{latent.shape[1]} channels",
        )
    largest = model.info.get("largest", max(latent.shape[2:]))
    if max(latent.shape[2:]) > largest:
        raise BadValueError(
            "the picture is larger than the model supports",
            expected=f"sides of at most {largest * latent.downscale} pixels",
            got=f"{latent.shape[3] * latent.downscale}x{latent.shape[2] * latent.downscale}",
            hint="sample a smaller picture and upscale it",
        )


def _steering(
    networks: Sequence[Any],
    entries: EntryMaker,
    positive: Conditioning,
    negative: Conditioning,
    space: Space,
    plan: Plan,
    hooks: ExitStack,
) -> Steering:
    """Return plain classifier-free guidance, which the patches may change."""
    from latentloom.nodes.diffusion.evaluation import Branch
    from latentloom.nodes.diffusion.guidance import classifier_free, norm_keeping

    latent = entries.latent
    predict = Innermost(space.prediction(_network(networks[0], entries, space)))
    branches = {
        "positive": Branch(entries(positive), predict),
        "negative": Branch(entries(negative, negative=True), predict),
    }
    return Steering(
        module=networks[0],
        networks=networks,
        inner=predict,
        branches=branches,
        rule=(norm_keeping if entries.model.info.get("cfg_rule") == "norm" else classifier_free)(plan.cfg),
        cfg=plan.cfg,
        entries=lambda _, conditioning: entries(_in_picture(conditioning, latent)),
        hooks=hooks,
        downscale=latent.downscale,
        cells=latent.shape[2:],
        space=space,
        timeline=plan.timeline(space),
    )


def _place(net: Any) -> tuple[Any, Any]:
    """Return the device and dtype of the weights of any torch module."""
    from diffusers.models.modeling_utils import get_parameter_device, get_parameter_dtype

    return get_parameter_device(net), get_parameter_dtype(net)


def _network(net: Any, entries: EntryMaker, space: Space) -> Network:
    """Return the network's forward pass. This is the only place where the network is called."""
    dtype = _place(net)[1]  # once: it may read all weights
    call, controls = entries.denoiser.call, entries.controls
    residuals = controls.residuals if entries.denoiser.unet else partial(controls.tokens, space.table, net)

    def network(x: Tensor, time: Tensor, /, **condition: Tensor) -> Tensor:
        return call(net, x.to(dtype), time, condition, residuals)

    return network


def _denoised(
    steering: Steering, mask: Tensor | None, start: Tensor, noise: Tensor, most: int | None, unguided: Unguided | None
) -> Denoised:
    from latentloom.nodes.diffusion.guidance import masked, steered

    timeline, repaint, space = steering.timeline, steering.repaint, steering.space
    denoised = steered(steering.branches, steering.whole_rule(), timeline, most, unguided)
    if mask is None:
        return denoised

    def noised(sigma: float) -> Tensor:
        return space.noised(start, noise, sigma)

    if repaint is None:
        return masked(denoised, mask, start, noised)
    return masked(denoised, lambda sigma: repaint(mask, timeline.at(sigma.item())), start, noised)


def _mask(latent: Latent, device: Any) -> Tensor | None:
    """Return the noise mask at the latent's size, [B, 1, h, w]."""
    if latent.noise_mask is None:
        return None
    return cells_of(latent.noise_mask.tensor(), latent.shape[2:]).to(device)


def _report(ctx: Context, model: Model, total: int, observe: Report | None) -> Report:
    """Report progress, with a preview of the first picture.

    Raises BadValueError after a step whose prediction is not finite, which would end in a black picture. The check is
    done one step later, because an immediate check would synchronise with the accelerator at each step.
    """
    finite: Tensor | None = None
    picture = preview_of(ctx, model)

    def report(index: int, x: Tensor, denoised: Tensor) -> None:
        nonlocal finite
        if finite is not None and not finite:
            raise _not_finite(f"step {index} of {total}")
        finite = denoised.isfinite().all()
        if observe is not None:
            observe(index, x, denoised)
        ctx.progress(index + 1, total, None if picture is None else partial(picture, denoised[:1]))

    return report


def _not_finite(where: str) -> BadValueError:
    return BadValueError(
        f"the model's prediction contains numbers that are not finite, at {where}",
        expected="finite numbers",
        got="NaN or infinity",
        hint="some models overflow in fp16: try --dtype bf16 or fp32",
    )
