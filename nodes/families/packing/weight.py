"""A packed weight as a tensor, to stand in a module."""

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
"""The type that a packed weight says it has, for what makes a plain weight of it: patches."""


class PackedWeight(torch.Tensor):  # type: ignore[misc]
    """A packed weight in the place of a plain one.

    What computes with it gets the decoded numbers; nothing writes to it. The engine decodes into memory of its own
    while a layer is called; everything else that reads weights, such as a patch, reads this as if it were plain.
    """

    packed: Packed
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __new__(cls, packed: Packed) -> Self:
        """A tensor without memory of its own."""
        make: Any = torch.Tensor._make_wrapper_subclass
        made: Self = make(cls, packed.shape, dtype=LOGICAL, device=packed.parts[0].device)
        made.packed = packed
        return made

    def __repr__(self) -> str:
        return f"PackedWeight({tuple(self.shape)}, {self.packed.decoder})"

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: nothing writes to it."""
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
    """Numbers with their scale, whose shape was checked."""
    parts = [numbers.view(DTYPES[packing.dtype])]
    if scale is not None:
        parts.append(scale.flatten() if scale.numel() > 1 else scale.reshape(()))
    return PackedWeight(Packed(Scaled(packing.rotated), tuple(parts), tuple(numbers.shape)))


def packed_blocks(packing: Packing, blocks: Tensor, shape: tuple[int, ...]) -> PackedWeight:
    """The bytes of GGUF's blocks."""
    return PackedWeight(Packed(Blocks(packing.dtype), (blocks.view(shape[0], -1),), shape))
