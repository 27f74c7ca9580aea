"""Nodes that mix the weights of checkpoints."""

from typing import Annotated, TypeVar

from pydantic import Field

from latentloom.engine import Clip, Model, Patch, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.merge import KINDS

H = TypeVar("H", Model, Clip)
ORIGIN = "What the other was made from: only its difference is added."
Share = Annotated[float, Field(ge=-2, le=2, description="0 is the first model alone, 1 the other one.")]


@node("ModelMerge", category="merge")
def model_merge(
    model: Model,
    other: Model,
    base: Annotated[Model | None, Field(description=ORIGIN)] = None,
    input_share: Share = 0.5,
    middle_share: Share = 0.5,
    output_share: Share = 0.5,
) -> Model:
    """Mix two models weight by weight, with a share for each third of the UNet: the way in, the middle, the way out.

    With `base` it becomes model + share * (other - base). LoRAs go on the result, or on the first model.
    """
    shares = {"input": input_share, "middle": middle_share, "output": output_share}
    return _merged(model, other, base, shares)


@node("ClipMerge", category="merge")
def clip_merge(
    clip: Clip,
    other: Clip,
    base: Annotated[Clip | None, Field(description=ORIGIN)] = None,
    share: Share = 0.5,
) -> Clip:
    """Mix two text encoders weight by weight; with `base` it becomes clip + share * (other - base)."""
    return _merged(clip, other, base, {"input": share})


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
    """Raise BadValueError for what cannot be merged into the first."""
    name = other.files[0].name if other.files else "the other model"
    if other.patches:
        raise BadValueError(
            f"'{name}' has changes of its own, which a merge would lose",
            got=", ".join(patch.kind for patch in other.patches),
            hint="merge first, and put LoRAs and guidance on the result",
        )
    if other.model_kind not in KINDS:
        raise BadValueError(
            f"'{name}' cannot be merged", expected="a checkpoint as a file or folder", got=other.model_kind
        )
    if other.info.get("family") != first.info.get("family"):
        raise BadValueError(
            f"'{name}' is of another family", expected=str(first.info.get("family")), got=str(other.info.get("family"))
        )


NODES = (model_merge, clip_merge)
