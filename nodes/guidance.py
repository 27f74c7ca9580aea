"""Nodes that change how a model is guided: each gives it a patch, which the sampling nodes follow in order."""

from typing import Annotated, Literal

from pydantic import Field

from latentloom.engine import Conditioning, Model, Patch, node
from latentloom.engine.errors import BadValueError

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

    `empty` is the conditioning of an empty prompt. Each step asks the model a third time. It stands first: guidance
    nodes before it are replaced.
    """
    meta, arrays = empty.split()
    return model.patched(Patch("perpendicular_negative", {"strength": strength, "empty": meta}, arrays=tuple(arrays)))


@node("GuidanceInterval", category="guidance")
def guidance_interval(model: Model, start: Share = 0.0, end: Share = 0.8) -> Model:
    """Guide at some of the steps only; at the others the positive alone counts, which takes half of the time.

    Kynkäänniemi et al. 2024. Early guidance narrows what comes out, late guidance hardly changes it.
    """
    if start >= end:
        raise BadValueError("the interval is empty", expected="start before end", got=f"{start:g} to {end:g}")
    return model.patched(Patch("guidance_interval", {"start": start, "end": end}))


@node("DifferentialDiffusion", category="guidance")
def differential_diffusion(model: Model) -> Model:
    """Read a soft noise mask as the strength of the change in each place (Levin & Fried 2023).

    Where the mask is 1 all steps repaint, where it is 0.5 the last half of them. It needs a latent with a mask.
    """
    return model.patched(Patch("differential_diffusion"))


@node("FreeU", category="guidance")
def freeu(model: Model, b1: Backbone = 1.3, b2: Backbone = 1.4, s1: Skip = 0.9, s2: Skip = 0.2) -> Model:
    """Weigh the UNet's features anew at no cost (Si et al. 2023): stage 1 is the deeper one.

    The defaults are the paper's for SD 1.x; for SDXL it names 1.1, 1.2, 0.6 and 0.4. All at 1 changes nothing.
    """
    return model.patched(Patch("freeu", {"b1": b1, "b2": b2, "s1": s1, "s2": s2}))


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

    Each step asks the model once more. The negative must have no areas, and the model no tiles.
    """
    return model.patched(Patch("self_attention_guidance", {"scale": scale, "blur": blur}))


NODES = (
    cfg_rescale,
    perpendicular_negative,
    guidance_interval,
    differential_diffusion,
    freeu,
    perturbed_attention,
    self_attention_guidance,
)
