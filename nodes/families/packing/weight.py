"""A packed weight as a tensor that can be a module's parameter."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from latentloom.engine.models.packed import Packed
from latentloom.nodes.families.packing.gguf_blocks import Blocks
from latentloom.nodes.families.packing.layout import Packing
from latentloom.nodes.families.packing.scaled import DTYPES, Scaled

LOGICAL = torch.float16
"""The dtype that a packed weight reports. Patches use it when they convert the weight to a plain one."""


class PackedWeight(torch.Tensor):  # type: ignore[misc]
    """A packed weight in place of a plain one.

    Operations use the decoded numbers; writing is an error. During a layer's call the engine decodes into a buffer of
    its own. Other code that reads weights, such as a patch, can treat this tensor as a plain weight.
    """

    packed: Packed
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __new__(cls, packed: Packed) -> Self:
        """Make a tensor without storage."""
        make: Any = torch.Tensor._make_wrapper_subclass
        made: Self = make(cls, packed.shape, dtype=LOGICAL, device=packed.parts[0].device)
        made.packed = packed
        return made

    def __repr__(self) -> str:
        return f"PackedWeight({tuple(self.shape)}, {self.packed.decoder})"

    def __deepcopy__(self, memo: Any) -> Self:
        """Return the same object: it is immutable."""
        return self

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute with the decoded numbers."""
        given = kwargs or {}
        if function in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return cls(args[0].packed)
        if isinstance(args[0], cls) and function._schema.is_mutable:
            raise RuntimeError("a packed weight cannot be written to: put a new tensor in its place")
        dtype = given.get("dtype") if function is torch.ops.aten._to_copy.default else None
        if function is torch.ops.aten.copy_.default:
            dtype = args[0].dtype

        def plain(weight: PackedWeight) -> Tensor:
            return weight.packed.decoded(dtype or weight.dtype)

        return function(*tree_map_only(cls, plain, args), **tree_map_only(cls, plain, given))


def packed_numbers(packing: Packing, numbers: Tensor, scale: Tensor | None) -> PackedWeight:
    """Make a packed weight from numbers and a scale, whose shape is already checked."""
    parts = [numbers.view(DTYPES[packing.dtype])]
    if scale is not None:
        parts.append(scale.flatten() if scale.numel() > 1 else scale.reshape(()))
    return PackedWeight(Packed(Scaled(packing.rotated), tuple(parts), tuple(numbers.shape)))


def packed_blocks(packing: Packing, blocks: Tensor, shape: tuple[int, ...]) -> PackedWeight:
    """Make a packed weight from the bytes of GGUF blocks."""
    return PackedWeight(Packed(Blocks(packing.dtype), (blocks.view(shape[0], -1),), shape))
