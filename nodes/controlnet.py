"""Nodes that guide sampling by a picture, with a ControlNet or a T2I-Adapter."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Advanced, Conditioning, Context, ControlNet, Image, Mask, ModelFile, Source, Vae, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.nodes.diffusion.control_pictures import Fit, Resize, kinds_of
from latentloom.nodes.diffusion.control_residuals import with_control
from latentloom.nodes.diffusion.vae import check_encodes
from latentloom.nodes.drawing.resize import Size, check_mask_batch, resize_mask

Share = Annotated[
    float, Field(ge=0, le=1, description="Fraction of the sampling process: 0 is pure noise, 1 is the final image.")
]
Strength = Annotated[float, Field(ge=0, le=10, description="Strength of the ControlNet; 0 has no effect.")]
Encoder = Annotated[
    Vae | None, Field(description="The model's VAE, for a ControlNet of Flux.1, SD 3 or Qwen-Image; unused by others.")
]
Fitting = Annotated[
    Fit,
    Field(description="For an image of another aspect ratio: fill and crop the rest, pad with black, or stretch."),
]


class Controlled(NamedTuple):
    """Both conditionings, with the control."""

    positive: Conditioning
    negative: Conditioning


@node(
    "LoadControlNet",
    display_name="Load ControlNet",
    aliases=("ControlNetLoader", "DiffControlNetLoader", "control net", "T2I adapter"),
    category="controlnet",
)
def load_controlnet(
    ctx: Context,
    controlnet: Annotated[
        ModelFile, Source("models/controlnet"), Field(description="A file or folder in models/controlnet.")
    ],
) -> ControlNet:
    """Load a ControlNet or T2I-Adapter, which guides a model by edges, depth, pose or another feature of an image."""
    found = ctx.recognise(controlnet)
    if found is None or "controlnet" not in found[1]:
        raise FileError(
            f"'{controlnet.name}' is not a ControlNet that Latentloom knows",
            expected="a ControlNet for Stable Diffusion, Flux.1, Qwen-Image or Z-Image, or a T2I-Adapter for SD 1.x or "
            "SDXL",
            got="a different kind of file" if found is None else found[1].get("about", found[0]),
        )
    kind, facts = found
    return ControlNet(kind, [controlnet.identity], {"component": "controlnet", **facts["controlnet"]})


@node(
    "ApplyControlNet",
    display_name="Apply ControlNet",
    aliases=(
        "ControlNetApplyAdvanced",
        "ControlNetApplySD3",
        "ControlNetApply",
        "control net",
        "pose",
        "depth",
        "canny",
        "T2I adapter",
    ),
    category="controlnet",
)
def apply_controlnet(
    positive: Conditioning,
    negative: Conditioning,
    controlnet: ControlNet,
    image: Image,
    mask: Annotated[
        Mask | None, Field(description="Where the ControlNet applies; without a mask, everywhere."), Advanced()
    ] = None,
    strength: Strength = 1.0,
    start: Share = 0.0,
    end: Share = 1.0,
    fit: Annotated[Fitting, Advanced()] = "fill",
    resize: Annotated[
        Resize,
        Field(
            description="Interpolation: smooth or nearest pixel. auto uses nearest for images of pure black and white."
        ),
        Advanced(),
    ] = "auto",
    kind: Annotated[
        Literal[
            *("plain", "openpose", "depth", "soft_edge", "lines", "normal", "segmentation", "tile", "repaint"),
            *("blur", "gray", "low_quality"),
        ],
        Field(description="Type of the control image for a union ControlNet; plain for all others."),
        Advanced(),
    ] = "plain",
    vae: Encoder = None,
) -> Controlled:
    """Guide sampling by an image with a ControlNet, from `start` to `end`. Several ControlNets in a row add up.

    The image is resized to the size of the sampled image. If the aspect ratio differs, it is cropped to the centre,
    padded with black or stretched. The mask is resized in the same way. Where the mask is 0, the ControlNet has no
    effect.
    """
    _check_span(start, end)
    _check_kind(controlnet, kind)
    if controlnet.info.get("masked"):
        raise BadValueError(
            f"'{controlnet.files[0].name}' is an inpaint ControlNet, which needs a mask",
            expected="ApplyInpaintControlNet",
            got="ApplyControlNet",
        )
    told = {**({} if kind == "plain" else {"kind": kind}), **_encoder(controlnet, vae)}
    parts = (controlnet, image, strength, start, end, mask)
    return Controlled(*(with_control(found, *parts, fit=fit, resize=resize, **told) for found in (positive, negative)))


@node(
    "ApplyInpaintControlNet",
    display_name="Apply inpaint ControlNet",
    aliases=("ControlNetInpaintingAliMamaApply", "inpaint control"),
    category="controlnet",
)
def apply_inpaint_controlnet(
    positive: Conditioning,
    negative: Conditioning,
    controlnet: ControlNet,
    image: Image,
    mask: Annotated[Mask, Field(description="Area to repaint; it is hidden from the ControlNet.")],
    strength: Strength = 1.0,
    start: Share = 0.0,
    end: Share = 1.0,
    fit: Annotated[Fitting, Advanced()] = "fill",
    vae: Encoder = None,
) -> Controlled:
    """Guide inpainting by the unmasked part of an image, with an inpaint ControlNet.

    Pixels where the mask is above 0.5 are set to -1, or to black for a union ControlNet with a repaint type and for one
    that takes latents. Use SetLatentMask as well to set the mask for the sampler.
    """
    _check_span(start, end)
    fitted = Mask(resize_mask(mask.numpy(), Size(image.shape[2], image.shape[1])))
    check_mask_batch(image.numpy(), fitted.numpy())
    kind = "repaint" if controlnet.info.get("union") else "plain"
    _check_kind(controlnet, kind)
    told = {**({} if kind == "plain" else {"kind": kind}), **_encoder(controlnet, vae)}
    parts = (controlnet, image, strength, start, end, None, fitted)
    return Controlled(
        *(with_control(found, *parts, fit=fit, resize="smooth", **told) for found in (positive, negative))
    )


def _check_span(start: float, end: float) -> None:
    if start > end:
        raise BadValueError("the control ends before it starts", expected=f"an end of at least {start}", got=str(end))


def _check_kind(controlnet: ControlNet, kind: str) -> None:
    """Raise BadValueError for a kind that the ControlNet does not support, or if a required kind is missing."""
    known, name = kinds_of(controlnet.info), controlnet.files[0].name
    if kind == "plain" and known:
        raise BadValueError(
            f"'{name}' is a union ControlNet, which needs to know what the picture shows",
            expected=", ".join(known),
            got=kind,
        )
    if kind not in (*known, "plain"):
        expected = ", ".join(known) if known else "plain: it is not a union ControlNet"
        raise BadValueError(f"'{name}' has no kind '{kind}'", expected=expected, got=kind)


def _encoder(controlnet: ControlNet, vae: Vae | None) -> dict[str, Any]:
    """Return the record's VAE for a ControlNet that sees latents. Raises BadValueError if there is none."""
    if not controlnet.info.get("latents"):
        return {}
    if vae is None:
        raise BadValueError(
            f"'{controlnet.files[0].name}' takes its picture as a latent",
            expected="the VAE of the model at `vae`",
            got="no VAE",
            hint="connect the VAE that decodes the model's latents",
        )
    check_encodes(vae)
    return {"vae": vae.split()[0]}


NODES = (load_controlnet, apply_controlnet, apply_inpaint_controlnet)
