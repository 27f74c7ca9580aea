"""The patch kind "merge": a UNet or text encoder merged with those of other files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from latentloom.engine import Patch
from latentloom.engine.errors import FileError
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.nodes.text.clip_reader import TextEncoder

if TYPE_CHECKING:
    from torch import Tensor

Section = Literal["input", "middle", "output"]
KINDS = {"single_file": SingleFile, "diffusers": DiffusersFolder}
_FIRST, _LAST = ("down_blocks.", "conv_in.", "time_embedding.", "add_embedding."), ("up_blocks.", "conv_")


def section_of(name: str) -> Section | None:
    """Return the section of a UNet that a weight or layer belongs to; None for a name of another network."""
    if name.startswith(_FIRST):
        return "input"
    if name.startswith("mid_block."):
        return "middle"
    return "output" if name.startswith(_LAST) else None


def apply_merge(module: Any, patch: Patch, paths: Sequence[Path]) -> Any:
    """a + share * (b - base), found in float32 and rounded once, where base is a itself or a third file.

    Parameters: {"parts": [{"model_kind", "info", "files"}] of b and optionally of base, "shares" by section}. `paths`
    are their files in the same order. Raises FileError if the networks have different structures.
    """
    from torch.nn import Parameter

    others = [_weights(other) for other in _loaded(patch, paths)]
    shares, owners = patch.parameters["shares"], _network(module)
    for name, weight in list(_weights(module).items()):
        found = [_same(other, name, weight, patch) for other in others]
        share = shares[section_of(name) or "input"]
        base = weight if len(found) == 1 else found[1]
        made = weight.float() + share * (found[0].float() - base.float())
        place, _, attribute = name.rpartition(".")
        setattr(owners.get_submodule(place), attribute, Parameter(made.to(weight.dtype), requires_grad=False))
    return module


def _loaded(patch: Patch, paths: Sequence[Path]) -> Iterator[Any]:
    remaining = iter(paths)
    for part in patch.parameters["parts"]:
        files = [next(remaining) for _ in range(part["files"])]
        yield KINDS[part["model_kind"]]().load(files, part["info"])


def _network(module: Any) -> Any:
    return module.modules if isinstance(module, TextEncoder) else module


def _weights(module: Any) -> Mapping[str, Tensor]:
    return dict(_network(module).named_parameters())


def _same(other: Mapping[str, Tensor], name: str, weight: Tensor, patch: Patch) -> Tensor:
    """Return the weight of that name. Raises FileError if there is none of that shape."""
    found = other.get(name)
    if found is None or found.shape != weight.shape:
        raise FileError(
            f"'{patch.files[0].name}' cannot be merged: its networks have a different architecture",
            expected=f"'{name}' {list(weight.shape)}",
            got="no such weight" if found is None else str(list(found.shape)),
            hint="models of one family can be merged: SD 1.x, SD 2.x or SDXL",
        )
    return found
