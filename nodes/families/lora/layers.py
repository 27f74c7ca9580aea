"""The layers of a network by the names that LoRA files have for them, and the rows that such a name means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloom.nodes.families.stable_diffusion.unet_keys import original_names

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Layers of a network whose rows, one layer's after another's, are those of a layer in a file."""

    layers: tuple[str, ...]
    authors: bool = False  # whether the name is that of the network's authors and not of diffusers

    def sources(self, module: Any, attribute: str) -> list[Tensor] | None:
        """The weights or biases of the layers; None where one of them has none."""
        found = [getattr(module.get_submodule(layer), attribute, None) for layer in self.layers]
        return None if any(tensor is None for tensor in found) else found

    def joined(self, tensors: list[Tensor], module: Any) -> Tensor:
        """All rows in the order of the file, float32."""
        import torch

        return torch.cat([self._turned(tensor.float(), module) for tensor in tensors])

    def split(self, rows: Tensor, sizes: list[int], module: Any) -> list[Tensor]:
        """The tensors of the layers again."""
        return [self._turned(part, module) for part in rows.split(sizes)]

    def _turned(self, tensor: Tensor, module: Any) -> Tensor:
        """The halves of a last norm change places where the network has them in another order than the file.

        diffusers has the scale first, and the authors the shift; see `last_norm`.
        """
        import torch
        from diffusers.models.normalization import AdaLayerNormContinuous

        parent = module.get_submodule(self.layers[0].rpartition(".")[0])
        shift_first = type(parent).__name__ == "ShiftFirst"
        if not isinstance(parent, AdaLayerNormContinuous) or shift_first == self.authors:
            return tensor
        return torch.cat(list(reversed(tensor.chunk(2))))


def layers_of(module: Any) -> dict[str, Rows]:
    """What each name means, with "_" for ".": diffusers' names and those of the authors' files."""
    names = [name.removesuffix(".weight") for name in module.state_dict() if name.endswith(".weight")]
    originals = original_names(f"{name}." for name in names)
    authors: Mapping[str, tuple[str, ...]] = {
        **{theirs.removesuffix("."): (ours.removesuffix("."),) for ours, theirs in originals.items()},
        **(module.origin.layers if hasattr(module, "origin") else {}),
    }
    return {
        **{name.replace(".", "_"): Rows(layers, authors=True) for name, layers in authors.items()},
        **{name.replace(".", "_"): Rows((name,)) for name in names},
    }


def groups_of(layers: Mapping[str, Rows]) -> dict[str, tuple[str, ...]]:
    """By layer, those that change together with it, since a file may have all of them as one."""
    by_size = sorted((rows.layers for rows in layers.values()), key=len)
    return {layer: together for together in by_size for layer in together}
