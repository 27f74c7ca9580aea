"""Nodes that change the guidance of a model: each adds a patch, and the sampling nodes apply them in order."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Advanced, Conditioning, Model, Patch, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.vae_tiles import check_overlap
from latentloom.nodes.vae import Overlap, TileSide

Share = Annotated[float, Field(ge=0, le=1, description="Fraction of the steps: 0 is the first step, 1 the end.")]
Backbone = Annotated[float, Field(ge=0, le=10, description="Factor of the backbone features; 1 changes nothing.")]
Skip = Annotated[
    float, Field(ge=0, le=10, description="Factor of the low frequencies of the skip features; 1 changes nothing.")
]


@node(
    "CFGRescale",
    display_name="CFG rescale",
    aliases=("RescaleCFG", "rescale cfg", "v prediction", "zero snr", "burnt colours"),
    category="guidance",
)
def cfg_rescale(
    model: Model,
    amount: Annotated[
        float, Field(ge=0, le=1, description="Strength of the rescaling: 0 changes nothing; the paper uses 0.7.")
    ] = 0.7,
) -> Model:
    """Rescale the guided prediction to the contrast of the unguided one, so a high cfg does not oversaturate colours.

    Lin et al. 2024, section 3.4.
    """
    return model.patched(Patch("cfg_rescale", {"amount": amount}))


@node(
    "PerpendicularNegative",
    display_name="Perpendicular negative",
    aliases=("PerpNeg", "perp neg", "negative prompt"),
    category="guidance",
)
def perpendicular_negative(
    model: Model,
    empty: Conditioning,
    strength: Annotated[float, Field(ge=0, le=10, description="Strength of the negative prompt.")] = 1.0,
) -> Model:
    """Let the negative prompt remove only what the positive does not ask for (Perp-Neg, Armandpour et al. 2023).

    `empty` is the conditioning of an empty prompt. Each step needs a third forward pass. The node sets the guidance
    rule that other guidance nodes modify, in any order. InstructGuidance sets the rule too, so using both is an error.
    """
    meta, arrays = empty.split()
    return model.patched(Patch("perpendicular_negative", {"strength": strength, "empty": meta}, arrays=tuple(arrays)))


@node(
    "TwoPromptGuidance",
    display_name="Guidance of two prompts",
    aliases=("dual cfg", "DualCFGGuider", "second cfg"),
    category="guidance",
)
def two_prompt_guidance(
    model: Model,
    second: Conditioning,
    cfg: Annotated[float, Field(ge=0, le=100, description="Guidance scale of the second prompt.")] = 1.5,
) -> Model:
    """Guide by two prompts with separate scales: the sampler's cfg guides from the second prompt to the positive one.

    This node's cfg guides from the negative to the second prompt, like the image scale of InstructPix2Pix (Brooks et
    al. 2023, eq. 3). Each step needs three forward passes. Using it with another node that sets the guidance rule is an
    error.
    """
    meta, arrays = second.split()
    return model.patched(Patch("two_prompts", {"cfg": cfg, "second": meta}, arrays=tuple(arrays)))


@node(
    "GuidanceInterval",
    display_name="Guidance interval",
    aliases=("limited cfg", "skip cfg", "cfg interval"),
    category="guidance",
)
def guidance_interval(model: Model, start: Share = 0.0, end: Share = 0.8) -> Model:
    """Apply guidance in a part of the steps only. The other steps use the positive alone and take half the time.

    Kynkäänniemi et al. 2024. Guidance in early steps reduces variety; guidance in late steps has little effect.
    """
    if start >= end:
        raise BadValueError("the interval is empty", expected="start before end", got=f"{start:g} to {end:g}")
    return model.patched(Patch("guidance_interval", {"start": start, "end": end}))


@node(
    "DifferentialDiffusion",
    display_name="Differential diffusion",
    aliases=("soft inpainting", "soft mask"),
    category="guidance",
)
def differential_diffusion(
    model: Model,
    by: Annotated[
        Literal["steps", "time"],
        Field(
            description="Unit of the mask values: a fraction of the steps, or of the model's timesteps as in ComfyUI."
        ),
        Advanced(),
    ] = "steps",
) -> Model:
    """Use a soft noise mask as the strength of the change at each position (Levin & Fried 2023).

    Where the mask is 1, all steps repaint; where it is 0.5, the last half of the steps (or of the model's timesteps)
    do. The latent must have a mask.
    """
    return model.patched(Patch("differential_diffusion", {"by": by}))


def _freeu_by_stage(inputs: dict[str, Any], version: int) -> dict[str, Any]:  # noqa: ARG001
    """Migrate version 1, which had only the rule "stage"."""
    return {"where": "stage", **inputs}


@node(
    "FreeU",
    aliases=("FreeU_V2", "quality", "backbone", "skip"),
    version=2,
    category="guidance",
    migrate=_freeu_by_stage,
)
def freeu(
    model: Model,
    b1: Backbone = 1.3,
    b2: Backbone = 1.4,
    s1: Skip = 0.9,
    s2: Skip = 0.2,
    where: Annotated[
        Literal["width", "stage"],
        Field(
            description="width: 1 and 2 are the layers 4 and 2 times as wide as the first. stage: the two deepest up "
            "blocks, as in diffusers."
        ),
        Advanced(),
    ] = "width",
    method: Annotated[
        Literal["1", "2"],
        Field(description="Version of FreeU; 2 scales each position by the strength of its features."),
        Advanced(),
    ] = "1",
) -> Model:
    """Scale the backbone (b) and skip (s) features of a UNet at no cost (Si et al. 2023). b1 and s1: the deeper layers.

    The defaults are those of the paper for SD 1.x; for SDXL it gives 1.1, 1.2, 0.6 and 0.4. All at 1 changes nothing.
    `width` selects layers as the authors' code and ComfyUI do, `stage` as diffusers does: the same numbers affect other
    layers.
    """
    factors = {"b1": b1, "b2": b2, "s1": s1, "s2": s2}
    return model.patched(Patch("freeu", {**factors, "where": where, "version": method}))


@node(
    "PerturbedAttention",
    display_name="Perturbed attention",
    aliases=("PerturbedAttentionGuidance", "PAG"),
    category="guidance",
)
def perturbed_attention(
    model: Model,
    scale: Annotated[float, Field(ge=0, le=100, description="Guidance scale.")] = 3.0,
    layers: Annotated[
        Literal["middle", "all"],
        Field(description="Self-attention layers that are disabled in the perturbed prediction."),
        Advanced(),
    ] = "middle",
) -> Model:
    """Guide away from the prediction without self-attention (PAG, Ahn et al. 2024). It also works at cfg 1.

    Each step needs one more forward pass.
    """
    return model.patched(Patch("perturbed_attention", {"scale": scale, "layers": layers}))


@node("SelfAttentionGuidance", display_name="Self-attention guidance", aliases=("SAG",), category="guidance")
def self_attention_guidance(
    model: Model,
    scale: Annotated[float, Field(ge=0, le=10, description="Guidance scale.")] = 0.75,
    blur: Annotated[
        float, Field(ge=0.1, le=10, description="Standard deviation of the blur in latent cells."), Advanced()
    ] = 1.0,
) -> Model:
    """Guide away from the prediction with the most attended regions blurred (SAG, Hong et al. 2023).

    Each step needs one more forward pass. Areas in the negative conditioning and tiled diffusion are an error.
    """
    return model.patched(Patch("self_attention_guidance", {"scale": scale, "blur": blur}))


@node(
    "TiledDiffusion",
    display_name="Tiled diffusion",
    aliases=("multidiffusion", "large pictures", "tiles", "mixture of diffusers"),
    category="guidance",
)
def tiled_diffusion(model: Model, tile: TileSide = 512, overlap: Overlap = 128) -> Model:
    """Evaluate the model on overlapping tiles of a large image at each step (MultiDiffusion, Bar-Tal et al. 2023).

    Use it for a second pass over an upscaled image with a denoise of 0.2 to 0.5: the tiles have the size that the model
    was trained on, and seams are blended at every step. With Seamless, tiles wrap around the edges.
    """
    check_overlap(tile, overlap)
    return model.patched(Patch("tiled_diffusion", {"tile": tile, "overlap": overlap}))


@node(
    "DeepShrink",
    display_name="Deep shrink",
    aliases=("PatchModelAddDownscale", "kohya", "hires", "hrfix", "high resolution"),
    category="guidance",
)
def deep_shrink(
    model: Model,
    depth: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="Number of the block after which features are downscaled; 1 is the first of the UNet.",
        ),
    ] = 3,
    factor: Annotated[float, Field(ge=1, le=8, description="Downscale factor of each side.")] = 2.0,
    start: Share = 0.0,
    end: Share = 0.35,
    by: Annotated[
        Literal["steps", "time"],
        Field(
            description="Unit of `start` and `end`: a fraction of the steps, or of the model's timesteps as in ComfyUI."
        ),
        Advanced(),
    ] = "steps",
    method: Annotated[
        Literal["bicubic", "bilinear", "area", "nearest"],
        Field(description="Interpolation of the features."),
        Advanced(),
    ] = "bicubic",
) -> Model:
    """Generate images larger than the training size in one pass, without duplicates (Deep Shrink, kohya-ss 2023).

    In the first steps the deeper blocks of the UNet work on downscaled features, so the composition stays coherent. It
    works with ControlNets, but not with T2I-Adapters.
    """
    told = {"depth": depth, "factor": factor, "start": start, "end": end, "by": by, "method": method}
    return model.patched(Patch("deep_shrink", told))


class SeamlessPair(NamedTuple):
    """A model and a VAE for seamless pictures."""

    model: Model
    vae: Vae


@node(
    "Seamless",
    display_name="Seamless tiling",
    aliases=("tileable", "pattern", "texture", "tiling"),
    category="guidance",
)
def seamless(
    model: Model,
    vae: Vae,
    horizontal: Annotated[bool, Field(description="Connect the left and the right edge.")] = True,
    vertical: Annotated[bool, Field(description="Connect the top and the bottom edge.")] = True,
) -> SeamlessPair:
    """Make a model and a VAE produce seamless textures, which can be tiled without a visible seam.

    It also applies to encoding, to tiles, and to ControlNets, whose input images must be seamless as well.
    """
    if not (horizontal or vertical):
        raise BadValueError("nothing is seamless", expected="horizontal, vertical or both", got="neither")
    patch = Patch("seamless", {"horizontal": horizontal, "vertical": vertical})
    return SeamlessPair(model.patched(patch), vae.patched(patch))


@node(
    "InstructGuidance",
    display_name="Guidance of InstructPix2Pix",
    aliases=("ip2p", "image cfg", "edit"),
    category="guidance",
)
def instruct_guidance(
    model: Model,
    image_cfg: Annotated[
        float, Field(ge=0, le=100, description="Guidance scale of the image: how closely the result follows it.")
    ] = 1.5,
) -> Model:
    """Guide an InstructPix2Pix model with two scales: the sampler's cfg for the text and `image_cfg` for the image.

    Brooks et al. 2023, eq. 3. Each step needs three forward passes.
    """
    return model.patched(Patch("instruct_guidance", {"image_cfg": image_cfg}))


NODES = (
    cfg_rescale,
    perpendicular_negative,
    two_prompt_guidance,
    guidance_interval,
    differential_diffusion,
    freeu,
    perturbed_attention,
    self_attention_guidance,
    tiled_diffusion,
    deep_shrink,
    seamless,
    instruct_guidance,
)
