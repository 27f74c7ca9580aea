"""Nodes that change the guidance of a model: each adds a patch, and the sampling nodes apply them in order."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Conditioning, Model, Patch, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.vae_tiles import check_overlap
from latentloom.nodes.vae import Overlap, TileSide

Share = Annotated[float, Field(ge=0, le=1, description="A share of the steps: 0 is the first, 1 the end.")]
Backbone = Annotated[float, Field(ge=0, le=10, description="Factor of the features; 1 changes nothing.")]
Skip = Annotated[float, Field(ge=0, le=10, description="Factor of the skips' low frequencies; 1 changes nothing.")]


@node("CFGRescale", category="guidance")
def cfg_rescale(
    model: Model,
    amount: Annotated[float, Field(ge=0, le=1, description="0 changes nothing; 0.7 is the paper's choice.")] = 0.7,
) -> Model:
    """Keep a high cfg from burning colours: the guided prediction gets the contrast of the unguided one.

    Lin et al. 2024, section 3.4.
    """
    return model.patched(Patch("cfg_rescale", {"amount": amount}))


@node("PerpendicularNegative", category="guidance")
def perpendicular_negative(
    model: Model,
    empty: Conditioning,
    strength: Annotated[float, Field(ge=0, le=10, description="How much the negative counts.")] = 1.0,
) -> Model:
    """Let a negative prompt take off only what the positive does not ask for (Perp-Neg, Armandpour et al. 2023).

    `empty` is the conditioning of an empty prompt. Each step asks the model a third time. It sets the rule that other
    guidance nodes go around, in any order; InstructGuidance, which sets one too, is refused beside it.
    """
    meta, arrays = empty.split()
    return model.patched(Patch("perpendicular_negative", {"strength": strength, "empty": meta}, arrays=tuple(arrays)))


@node("TwoPromptGuidance", category="guidance")
def two_prompt_guidance(
    model: Model,
    second: Conditioning,
    cfg: Annotated[float, Field(ge=0, le=100, description="How strongly the second prompt counts.")] = 1.5,
) -> Model:
    """Guide by two prompts with a scale each: the sampler's cfg leads from the second prompt to the positive one.

    This node's cfg leads from the negative to the second prompt, as with InstructPix2Pix's picture (Brooks et al. 2023,
    eq. 3). Each step asks the model three times. Other nodes that set such a rule are refused beside it.
    """
    meta, arrays = second.split()
    return model.patched(Patch("two_prompts", {"cfg": cfg, "second": meta}, arrays=tuple(arrays)))


@node("GuidanceInterval", category="guidance")
def guidance_interval(model: Model, start: Share = 0.0, end: Share = 0.8) -> Model:
    """Guide at some of the steps only; at the others the positive alone counts, which takes half of the time.

    Kynkäänniemi et al. 2024. Early guidance narrows what comes out, late guidance hardly changes it.
    """
    if start >= end:
        raise BadValueError("the interval is empty", expected="start before end", got=f"{start:g} to {end:g}")
    return model.patched(Patch("guidance_interval", {"start": start, "end": end}))


@node("DifferentialDiffusion", category="guidance")
def differential_diffusion(
    model: Model,
    by: Annotated[
        Literal["steps", "time"], Field(description="What the mask is a share of; ComfyUI counts the model's time.")
    ] = "steps",
) -> Model:
    """Read a soft noise mask as the strength of the change in each place (Levin & Fried 2023).

    Where the mask is 1 all steps repaint, where it is 0.5 the last half of them, or of the model's timesteps. It needs
    a latent with a mask.
    """
    return model.patched(Patch("differential_diffusion", {"by": by}))


def _freeu_by_stage(inputs: dict[str, Any], version: int) -> dict[str, Any]:  # noqa: ARG001
    """Migrate version 1, which had only the rule "stage"."""
    return {"where": "stage", **inputs}


@node("FreeU", version=2, category="guidance", migrate=_freeu_by_stage)
def freeu(
    model: Model,
    b1: Backbone = 1.3,
    b2: Backbone = 1.4,
    s1: Skip = 0.9,
    s2: Skip = 0.2,
    where: Annotated[
        Literal["width", "stage"],
        Field(description="width: 1 is the layers of 4 times the first width, 2 those of twice. stage: as diffusers."),
    ] = "width",
    method: Annotated[
        Literal["1", "2"], Field(description="2 weighs each place by how strong its features are.")
    ] = "1",
) -> Model:
    """Weigh the UNet's features anew at no cost (Si et al. 2023): b and s with 1 are for the deeper layers.

    The defaults are the paper's for SD 1.x; for SDXL it names 1.1, 1.2, 0.6 and 0.4. All at 1 changes nothing. `width`
    is the rule of the authors' code and of ComfyUI, `stage` that of diffusers: the same numbers mean other layers.
    """
    factors = {"b1": b1, "b2": b2, "s1": s1, "s2": s2}
    return model.patched(Patch("freeu", {**factors, "where": where, "version": method}))


@node("PerturbedAttention", category="guidance")
def perturbed_attention(
    model: Model,
    scale: Annotated[float, Field(ge=0, le=100, description="How far away from the worse prediction.")] = 3.0,
    layers: Annotated[
        Literal["middle", "all"], Field(description="Which self-attention is switched off for the worse prediction.")
    ] = "middle",
) -> Model:
    """Guide away from what the model draws without self-attention (Ahn et al. 2024); also works at cfg 1.

    Each step asks the model once more.
    """
    return model.patched(Patch("perturbed_attention", {"scale": scale, "layers": layers}))


@node("SelfAttentionGuidance", category="guidance")
def self_attention_guidance(
    model: Model,
    scale: Annotated[float, Field(ge=0, le=10, description="How far away from the blurred prediction.")] = 0.75,
    blur: Annotated[float, Field(ge=0.1, le=10, description="The blur's deviation in latent cells.")] = 1.0,
) -> Model:
    """Guide away from what the model draws when the parts that it looks at most are blurred (SAG, Hong et al. 2023).

    Each step asks the model once more. The negative must have no areas, and the model no tiles: that is refused.
    """
    return model.patched(Patch("self_attention_guidance", {"scale": scale, "blur": blur}))


@node("TiledDiffusion", category="guidance")
def tiled_diffusion(model: Model, tile: TileSide = 512, overlap: Overlap = 128) -> Model:
    """Let the model look at a large picture tile by tile at each step, as MultiDiffusion does (Bar-Tal et al. 2023).

    For a second pass over an enlarged picture, with a denoise of 0.2 to 0.5: details come from tiles of the size that
    the model knows, and seams are blended at every step. With Seamless, tiles go on at the opposite edge.
    """
    check_overlap(tile, overlap)
    return model.patched(Patch("tiled_diffusion", {"tile": tile, "overlap": overlap}))


@node("DeepShrink", category="guidance")
def deep_shrink(
    model: Model,
    depth: Annotated[
        int, Field(ge=1, le=64, description="The block behind which features shrink: 1 is the first of the UNet.")
    ] = 3,
    factor: Annotated[float, Field(ge=1, le=8, description="By how much each side shrinks.")] = 2.0,
    start: Share = 0.0,
    end: Share = 0.35,
    by: Annotated[
        Literal["steps", "time"], Field(description="What the two are shares of; ComfyUI counts the model's time.")
    ] = "steps",
    method: Annotated[
        Literal["bicubic", "bilinear", "area", "nearest"], Field(description="How features are resized.")
    ] = "bicubic",
) -> Model:
    """Make pictures larger than those of the training in one go, without doubled heads (Deep Shrink, kohya-ss 2023).

    At the first steps the deeper blocks of the UNet see smaller features, so that they compose the picture as a whole.
    It works with ControlNets, not with T2I-Adapters.
    """
    told = {"depth": depth, "factor": factor, "start": start, "end": end, "by": by, "method": method}
    return model.patched(Patch("deep_shrink", told))


class SeamlessPair(NamedTuple):
    """A model and a VAE for seamless pictures."""

    model: Model
    vae: Vae


@node("Seamless", category="guidance")
def seamless(
    model: Model,
    vae: Vae,
    horizontal: Annotated[bool, Field(description="The left edge goes on at the right.")] = True,
    vertical: Annotated[bool, Field(description="The upper edge goes on at the lower.")] = True,
) -> SeamlessPair:
    """Make textures: what is sampled and decoded with these can be laid side by side without a seam.

    It holds for pictures that are encoded, for tiles, and for ControlNets, whose pictures must be seamless as well.
    """
    if not (horizontal or vertical):
        raise BadValueError("nothing is seamless", expected="horizontal, vertical or both", got="neither")
    patch = Patch("seamless", {"horizontal": horizontal, "vertical": vertical})
    return SeamlessPair(model.patched(patch), vae.patched(patch))


@node("InstructGuidance", category="guidance")
def instruct_guidance(
    model: Model,
    image_cfg: Annotated[float, Field(ge=0, le=100, description="How closely the picture is kept.")] = 1.5,
) -> Model:
    """Guide an InstructPix2Pix model by two scales: the sampler's cfg for the text, `image_cfg` for the picture.

    Brooks et al. 2023, eq. 3. Each step asks the model three times.
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
