"""Nodes that merge the weights of checkpoints, and save them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from latentloom.engine import Advanced, Clip, Context, Model, Patch, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.merge import KINDS
from latentloom.nodes.families.stable_diffusion.saving import text_tensors, unet_tensors, vae_tensors

if TYPE_CHECKING:
    from torch import Tensor

H = TypeVar("H", Model, Clip)
ORIGIN = "Base model of `other`: only the difference from it is added."
Share = Annotated[float, Field(ge=-2, le=2, description="Merge ratio: 0 is the first model, 1 is `other`.")]


@node(
    "ModelMerge",
    display_name="Merge models",
    aliases=("ModelMergeSimple", "ModelMergeBlocks", "ModelMergeAdd", "checkpoint merger", "blend", "add difference"),
    category="merge",
)
def model_merge(
    model: Model,
    other: Model,
    base: Annotated[Model | None, Field(description=ORIGIN)] = None,
    input_share: Share = 0.5,
    middle_share: Share = 0.5,
    output_share: Share = 0.5,
) -> Model:
    """Merge the weights of two models, with a separate ratio for the input, middle and output blocks of the UNet.

    With `base`, the result is model + share * (other - base). Apply LoRAs to the result, or to the first model.
    """
    shares = {"input": input_share, "middle": middle_share, "output": output_share}
    return _merged(model, other, base, shares)


@node(
    "ClipMerge",
    display_name="Merge text encoders",
    aliases=("CLIPMergeSimple", "CLIPMergeAdd", "CLIP merge"),
    category="merge",
)
def clip_merge(
    clip: Clip,
    other: Clip,
    base: Annotated[Clip | None, Field(description=ORIGIN)] = None,
    share: Share = 0.5,
) -> Clip:
    """Merge the weights of two text encoders. With `base`, the result is clip + share * (other - base)."""
    return _merged(clip, other, base, {"input": share})


@node(
    "SaveCheckpoint",
    display_name="Save checkpoint",
    aliases=("CheckpointSave", "export model"),
    category="merge",
    purity="sink",
)
def save_checkpoint(
    ctx: Context,
    model: Model,
    clip: Clip | None = None,
    vae: Vae | None = None,
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="File name in the output folder, with the same fields as SaveImage.",
        ),
    ] = "checkpoints/{name}-{counter}",
    dtype: Annotated[
        Literal["as it is", "fp16", "bf16", "fp32"],
        Field(description="Precision of the weights in the file."),
        Advanced(),
    ] = "as it is",
) -> str:
    """Save a model with its LoRAs and merges as one safetensors file in the original layout, as other programs read it.

    Supports SD 1.x, SD 2.x, SDXL and its refiner. Inputs that are not connected are left out of the file. Guidance
    nodes are not saved. The node needs as much memory as the size of the file.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {**unet_tensors(_unplaced(ctx, model))}
    tensors |= text_tensors(_unplaced(ctx, clip)) if clip is not None else {}
    tensors |= vae_tensors(_unplaced(ctx, vae)) if vae is not None else {}
    data = save(_stored(tensors, dtype), metadata=_said(model))
    return ctx.save("safetensors", data, name)


def _unplaced(ctx: Context, handle: Model | Clip | Vae) -> Any:
    if handle.model_kind not in KINDS:
        raise BadValueError(
            f"'{handle.files[0].name if handle.files else handle.model_kind}' cannot be saved as a checkpoint",
            expected="SD 1.x, SD 2.x, SDXL or its refiner",
            got=handle.model_kind,
        )
    return ctx.unplaced(handle)


def _stored(tensors: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Prepare tensors for a file: of one dtype, and without shared memory."""
    import torch

    wanted = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}.get(dtype)
    return {
        name: tensor.to(wanted if tensor.is_floating_point() else None).contiguous().clone()
        for name, tensor in tensors.items()
    }


def _said(model: Model) -> dict[str, str]:
    """Return metadata for the training facts that the weights do not show."""
    prediction = {"v": "v", "epsilon": "epsilon"}.get(model.info["prediction"])
    said = {"modelspec.prediction_type": prediction} if prediction else {}
    return {**said, **({"ss_zero_terminal_snr": "true"} if model.info.get("zero_snr") else {}), "format": "pt"}


def _merged(first: H, other: H, base: H | None, shares: dict[str, float]) -> H:
    others = [handle for handle in (other, base) if handle is not None]
    for handle in others:
        _check(first, handle)
    parts = [
        {"model_kind": handle.model_kind, "info": dict(handle.info), "files": len(handle.files)} for handle in others
    ]
    files = tuple(file for handle in others for file in handle.files)
    return first.patched(Patch("merge", {"parts": parts, "shares": shares}, files))


def _check(first: Model | Clip, other: Model | Clip) -> None:
    """Raise BadValueError if the second cannot be merged into the first."""
    name = other.files[0].name if other.files else "the other model"
    if other.patches:
        raise BadValueError(
            f"'{name}' has patches of its own, which a merge would lose",
            got=", ".join(patch.kind for patch in other.patches),
            hint="merge first, and put LoRAs and guidance on the result",
        )
    if other.model_kind not in KINDS:
        raise BadValueError(
            f"'{name}' cannot be merged", expected="a checkpoint as a file or folder", got=other.model_kind
        )
    if other.info.get("family") != first.info.get("family"):
        raise BadValueError(
            f"'{name}' is of a different family",
            expected=str(first.info.get("family")),
            got=str(other.info.get("family")),
        )


NODES = (model_merge, clip_merge, save_checkpoint)
