"""What the ControlNets of transformers share: how they are recognised, loaded, told and called.

A family's ControlNets are one class in one short file. It is a model kind and calls its networks too. Most of them see
a picture as the latent of the model's VAE; "latents" in their facts says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import FileError
from latentloom.engine.models.weights import not_in_float16
from latentloom.nodes.families.conversion import converted_pieces
from latentloom.nodes.families.folder import folder_weights, read_json, said_class
from latentloom.nodes.families.header import Shapes, weights_facts
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.text_parts import header_of
from latentloom.nodes.families.unused import warn_unused

if TYPE_CHECKING:
    from torch import Tensor

LATENT = 16  # channels of the latents of the families that have such ControlNets
Residuals = Mapping[str, Sequence[Any]]
"""By the name of the transformer's argument, one tensor [B, N, D] for each of its blocks, N tokens of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a ControlNet sees at one step."""

    module: Any  # the transformer beside it
    x: Tensor  # [B, C, h, w], with even sides
    sigma: Tensor  # float32 [B]
    condition: Mapping[str, Tensor]  # of the transformer
    picture: Tensor  # its latent [B, C, h, w], or pixels [B, 3, 8 h, 8 w] in 0..1
    mode: int | None = None  # the number of a union ControlNet's kind
    strength: float = 1.0  # by which what it returns is multiplied afterwards


class TransformerControl(ABC):
    """The ControlNets of one family of transformers."""

    family: ClassVar[str]
    """The model kind that it guides."""
    title: ClassVar[str]
    """What people call it."""
    module: ClassVar[str]
    """The class of the network in diffusers."""
    narrow: ClassVar[bool] = False
    """Whether its family overflows in fp16; see `Family`."""
    spare: ClassVar[str] = ""
    """How layers begin that some versions have and do not use; "" for none."""
    told: ClassVar[tuple[str, ...]] = ()
    """The arguments of that class that shapes do not tell and a folder does."""

    @abstractmethod
    def matches(self, shapes: Shapes) -> bool:
        """Whether tensors are those of a ControlNet of the family, in any of its layouts."""

    @abstractmethod
    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Arguments of the network's class."""

    @abstractmethod
    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Facts of the handle besides "family": "context", "inner", "latents", "masked" and "union"."""

    @abstractmethod
    def residuals(self, net: Any, seen: Seen) -> Residuals:
        """Call the network, and spread what it gives over the transformer's blocks."""

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Tensors by the names of the network's class; most files have them."""
        return tensors

    def build(self, config: Mapping[str, Any]) -> Any:
        """The network without weights."""
        return getattr(import_module("diffusers"), self.module)(**config)

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts of a "controlnet"; None for another file or folder. See `ModelKind`."""
        if path.is_dir() and said_class(path) != self.module:
            return None
        header = header_of(path)
        if not self.matches(header.shapes):
            return None
        try:
            facts = {"family": self.family, **self.facts(self._config(path, header.shapes))}
        except (KeyError, IndexError, ValueError):  # only a part of one
            return None
        kinds = [word for fact, word in (("union", "union "), ("masked", "inpaint ")) if facts.get(fact)]
        about = f"{self.title} {''.join(kinds)}ControlNet"
        return {"controlnet": facts, "about": about, **weights_facts(header)}

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """Load the network. It carries its adapter, which calls it."""
        path = paths[0]
        shapes, weights = header_of(path).shapes, folder_weights(path) if path.is_dir() else Weights(path)
        if not self.matches(shapes):
            raise FileError(f"'{path.name}' is no ControlNet of {self.title}")
        config = self._config(path, shapes)

        def pieces(names: list[str]) -> dict[str, Piece]:  # noqa: ARG001
            return converted_pieces(self.convert, shapes)

        made = assemble(lambda: self.build(config), pieces, weights, "ControlNet")
        if self.spare:
            weights.taken |= {name for name in weights.keys() if name.startswith(self.spare)}  # noqa: SIM118
        warn_unused(weights)
        made.adapter = self
        return not_in_float16(made) if self.narrow else made

    def _config(self, path: Path, shapes: Shapes) -> dict[str, Any]:
        said = read_json(path / "config.json") if path.is_dir() else {}
        return {**self.config(shapes), **{name: said[name] for name in self.told if name in said}}


def spread(samples: Sequence[Any], blocks: int) -> list[Any]:
    """Assign the outputs of a ControlNet to more blocks than it has: each one to a run of neighbours (diffusers)."""
    each = -(-blocks // len(samples))
    return [samples[block // each] for block in range(blocks)]
