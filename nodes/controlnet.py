"""Nodes that guide a sampler by a picture, through a ControlNet or a T2I-Adapter."""

from typing import Annotated, NamedTuple

from pydantic import Field

from latentloom.engine import Conditioning, Context, ControlNet, Image, Mask, ModelFile, Source, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.nodes.diffusion.control_residuals import with_control

Share = Annotated[float, Field(ge=0, le=1, description="A share of the way from noise (0) to the picture (1).")]


class Controlled(NamedTuple):
    """Both conditionings, with the control."""

    positive: Conditioning
    negative: Conditioning


@node("LoadControlNet", category="controlnet")
def load_controlnet(
    ctx: Context,
    controlnet: Annotated[
        ModelFile, Source("models/controlnet"), Field(description="A file or folder below models/controlnet.")
    ],
) -> ControlNet:
    """A ControlNet or T2I-Adapter: a network that guides a model by the edges, depth, pose, ... of a picture."""
    found = ctx.recognise(controlnet)
    if found is None or "controlnet" not in found[1]:
        raise FileError(
            f"'{controlnet.name}' is no ControlNet that Latentloom knows",
            expected="a ControlNet or T2I-Adapter for SD 1.x, SD 2.x or SDXL, as a safetensors file or a folder",
            got="another kind of file" if found is None else found[1].get("about", found[0]),
        )
    kind, facts = found
    code = {"code": facts["code"]} if "code" in facts else {}
    return ControlNet(kind, [controlnet.identity], {"component": "controlnet", **facts["controlnet"], **code})


@node("ApplyControlNet", category="controlnet")
def apply_controlnet(
    positive: Conditioning,
    negative: Conditioning,
    controlnet: ControlNet,
    image: Image,
    mask: Mask | None = None,
    strength: Annotated[float, Field(ge=0, le=10, description="How much of its guidance; 0 is none.")] = 1.0,
    start: Share = 0.0,
    end: Share = 1.0,
) -> Controlled:
    """Guide by a picture, from `start` to `end` of the way; several in a row add up.

    Picture and mask are resized to the size of what is sampled. Where the mask is 0, the ControlNet does nothing.
    """
    if start > end:
        raise BadValueError("the control ends before it starts", expected=f"an end of at least {start}", got=str(end))
    parts = (controlnet, image, strength, start, end, mask)
    return Controlled(with_control(positive, *parts), with_control(negative, *parts))


NODES = (load_controlnet, apply_controlnet)
