"""The value on LORA edges: a change to a model, before it is saved or after it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latentloom.engine import Array, Patch
from latentloom.engine.errors import BadValueError
from latentloom.engine.types.values import Value
from latentloom.nodes.families.lora.key_names import Network, changes

if TYPE_CHECKING:
    from torch import Tensor

BASE = "latentloom.base_sha256"
"""In a header: the sha256 of the model that the LoRA was trained on."""
TITLE = "modelspec.title"


class Lora(Value):
    """The tensors of a LoRA file by name, and its header."""

    kind = "LORA"
    __slots__ = ("header", "tensors")

    def __init__(self, tensors: Mapping[str, Array], header: Mapping[str, str]) -> None:
        """Raises BadValueError if the names are not those of a LoRA."""
        if not changes(tensors):
            raise BadValueError("LORA has no layers", expected="the tensors of at least one layer")
        self.tensors = dict(tensors)
        self.header = dict(header)

    @property
    def networks(self) -> set[Network]:
        """The networks that it changes."""
        return {target.network for target in changes(self.tensors)}

    @property
    def title(self) -> str:
        """Its name, for messages."""
        return self.header.get(TITLE, "a LoRA of this workflow")

    def patch(self, strength: float) -> Patch:
        """Return the patch that puts it on a model."""
        names = list(self.tensors)
        parameters = {"strength": strength, "names": names, "title": self.title}
        return Patch("lora", parameters, (), tuple(self.tensors[name] for name in names))

    def split(self) -> tuple[Any, list[Array]]:
        """See `Value.split`."""
        return {"names": list(self.tensors), "header": self.header}, list(self.tensors.values())

    @classmethod
    def join(cls, meta: Any, arrays: Sequence[Array]) -> Lora:
        """See `Value.join`."""
        return cls(dict(zip(meta["names"], arrays, strict=True)), meta["header"])


def tensors_of(patch: Patch) -> dict[str, Tensor]:
    """Return the tensors that a LoRA's patch carries by itself."""
    return {name: array.tensor() for name, array in zip(patch.parameters["names"], patch.arrays, strict=True)}


def other_base(header: Mapping[str, str], sha256: str) -> bool:
    """Whether a header says that the LoRA was trained on another model than the one with this sha256."""
    return header.get(BASE, sha256) != sha256
