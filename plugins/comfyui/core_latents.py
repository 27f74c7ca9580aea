"""Rules for ComfyUI's core classes for latents, and for the VAE."""

from latentloom.plugins.comfyui.core_sizes import scale_method
from latentloom.plugins.comfyui.rules import Made, Named, Result, Rule, Unmappable, Use, renamed, sized


def _save_latent(use: Use) -> Result:
    use.ignore("filename_prefix")
    use.note("changed", "the latent is an output of the workflow, not a file")
    return Named("latent", use.link("samples"))


def _method(use: Use) -> str:
    """Return our name of a latent's filter. Raises Unmappable for one that does not exist here."""
    if use.value("upscale_method", str) == "bislerp":
        return "bislerp"
    return scale_method(use, "lanczos")


def _latent_upscale(use: Use) -> Result:
    method = _method(use)
    if use.value("crop", str, "disabled") != "disabled":
        raise Unmappable("LatentUpscale does not crop here")
    inputs = use.take(latent="samples", width="width", height="height")
    return Made("LatentUpscale", 1, {**inputs, "method": method}, ("latent",))


def _latent_upscale_by(use: Use) -> Result:
    inputs = {**use.take(latent="samples", factor="scale_by"), "width": 0, "height": 0}
    return Made("LatentUpscale", 1, {**inputs, "method": _method(use)}, ("latent",))


def _latent_blend(use: Use) -> Result:
    use.ignore("blend_mode")
    amount = 1 - use.number("blend_factor")
    return Made("LatentBlend", 1, {**use.take(a="samples1", b="samples2"), "amount": amount}, ("latent",))


def _latent_interpolate(use: Use) -> Result:
    use.note("approximated", "the lengths of the vectors are interpolated linearly too")
    amount = 1 - use.number("ratio")
    return Made("LatentBlend", 1, {**use.take(a="samples1", b="samples2"), "amount": amount}, ("latent",))


def _latent_batch(use: Use) -> Result:
    use.note("changed", "latents of another size than the first are an error here")
    return Made("JoinLatents", 1, {"latents": [use.link("samples1"), use.link("samples2")]}, ("latent",))


def _latent_composite(use: Use) -> Result:
    inputs = use.take(latent="samples_to", over="samples_from", x="x", y="y", feather="feather")
    return Made("LatentComposite", 1, inputs, ("latent",))


def _latent_composite_masked(use: Use) -> Result:
    if use.value("resize_source", bool, False):
        raise Unmappable("the source of LatentCompositeMasked is not resized here")
    inputs = use.take(latent="destination", over="source", x="x", y="y")
    if "mask" in use.node.inputs:
        inputs |= use.take(mask="mask")
        use.note("approximated", "where the mask is made smaller, it is averaged here")
    return Made("LatentComposite", 1, inputs, ("latent",))


def _inpaint_encode(use: Use) -> Result:
    inputs = use.take(vae="vae", image="pixels", mask="mask", grow="grow_mask_by")
    return Made("InpaintEncode", 1, {**inputs, "resize": "bilinear"}, ("latent",))


def _tiled(type: str, output: str, **names: str) -> Rule:
    def rule(use: Use) -> Result:
        use.ignore("temporal_size", "temporal_overlap")
        inputs = use.take(**names, tile="tile_size")
        overlap = use.take(overlap="overlap") if "overlap" in use.node.inputs else {}
        return Made(type, 1, {**inputs, **overlap}, (output,))

    return rule


RULES: dict[str, Rule] = {
    "EmptyLatentImage": renamed("EmptyLatent", 1, "latent", **sized(batch="batch_size")),
    "EmptyFlux2LatentImage": renamed("EmptyLatent", 1, "latent", **sized(batch="batch_size")),
    "EmptySD3LatentImage": renamed("EmptyLatent", 1, "latent", **sized(batch="batch_size")),
    "LatentUpscale": _latent_upscale,
    "LatentUpscaleBy": _latent_upscale_by,
    "LatentBatch": _latent_batch,
    "LatentBlend": _latent_blend,
    "LatentInterpolate": _latent_interpolate,
    "LatentComposite": _latent_composite,
    "LatentCompositeMasked": _latent_composite_masked,
    "LatentCrop": renamed("LatentCrop", 1, "latent", **sized(latent="samples", x="x", y="y")),
    "RepeatLatentBatch": renamed("RepeatLatent", 1, "latent", latent="samples", times="amount"),
    "LatentFromBatch": renamed("PickLatents", 1, "latent", latents="samples", first="batch_index", count="length"),
    "SetLatentNoiseMask": renamed(
        "SetLatentMask", 1, "latent", {"resize": "bilinear"}, latent="samples", mask="mask"
    ),
    "VAEDecode": renamed("VAEDecode", 1, "image", vae="vae", latent="samples"),
    "VAEEncode": renamed("VAEEncode", 1, "latent", vae="vae", image="pixels"),
    "VAEDecodeTiled": _tiled("VAEDecodeTiled", "image", vae="vae", latent="samples"),
    "VAEEncodeTiled": _tiled("VAEEncodeTiled", "latent", vae="vae", image="pixels"),
    "VAEEncodeForInpaint": _inpaint_encode,
    "SaveLatent": _save_latent,
}  # fmt: skip
