"""The detailer: crops the area around a mask, samples it at full size and pastes it back."""

from typing import Annotated, Any

from pydantic import Field

from latentloom.engine import Advanced, Conditioning, Context, Image, Mask, Model, Seed, Vae, node
from latentloom.engine.types.expansion import Expansion
from latentloom.nodes.inpaint import Side
from latentloom.nodes.noise import NoiseRule
from latentloom.nodes.sampling import Cfg, Denoise, SamplerName, ScheduleName, Steps

OUTPUT = "image"


@node(
    "Detailer",
    display_name="Detailer",
    aliases=("DetailerForEach", "MaskDetailerPipe", "FaceDetailer", "face", "hands", "inpaint only masked"),
    category="inpaint",
)
def detailer(
    ctx: Context,
    image: Image,
    mask: Mask,
    model: Model,  # noqa: ARG001 - the nodes inside take it by an edge
    vae: Vae,  # noqa: ARG001
    positive: Conditioning,  # noqa: ARG001
    negative: Conditioning,  # noqa: ARG001
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    denoise: Denoise = 0.5,
    width: Side = 512,
    height: Side = 512,
    context: Annotated[int, Field(ge=0, le=4096, description="Margin of context around the mask, in pixels.")] = 64,
    feather: Annotated[int, Field(ge=0, le=512, description="Width of the soft edge around the mask, in pixels.")] = 8,
    noise_rule: Annotated[NoiseRule, Advanced()] = "per_item",
) -> Image:
    """Repaint the area of a mask at the size that a model works best at, and paste it back.

    It runs MaskFeather, InpaintCrop, VAEEncode, SetLatentMask, KSampler, VAEDecode and InpaintStitch in this order. All
    masked areas of an image are one crop. An image whose mask is empty stays as it is.
    """
    if not mask.numpy().any():
        return image
    sampling = {"seed": seed, "steps": steps, "cfg": cfg, "sampler": sampler, "schedule": schedule, "denoise": denoise}
    given = {name: ctx.edge(name) for name in ("model", "positive", "negative")}
    soft = _edge("soft", "mask")
    nodes = {
        "soft": _node("MaskFeather", mask=ctx.edge("mask"), pixels=feather, where="outside"),
        "crop": _node("InpaintCrop", image=ctx.edge("image"), mask=soft, width=width, height=height, context=context),
        "encode": _node("VAEEncode", vae=ctx.edge("vae"), image=_edge("crop", "image")),
        "masked": _node("SetLatentMask", latent=_edge("encode", "latent"), mask=_edge("crop", "mask")),
        "sample": _node("KSampler", latent=_edge("masked", "latent"), noise_rule=noise_rule, **given, **sampling),
        "decode": _node("VAEDecode", vae=ctx.edge("vae"), latent=_edge("sample", "latent")),
        "stitch": _node(
            "InpaintStitch", image=ctx.edge("image"), part=_edge("decode", "image"), mask=soft,
            region=_edge("crop", "region"),
        ),
    }  # fmt: skip
    return Expansion(nodes, {OUTPUT: _edge("stitch", OUTPUT)})  # type: ignore[return-value]


def _node(type: str, **inputs: Any) -> dict[str, Any]:
    return {"type": type, "inputs": inputs}


def _edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


NODES = (detailer,)
