"""Port types: how a value becomes bytes, an identity, and a stamp that betrays a write."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine import keys
from latentloom.engine.errors import FileError
from latentloom.engine.types.values import Array, Value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = Sequence[npt.NDArray[np.generic]]


class Codec(Protocol):
    """Takes a value of one port type apart into JSON and numpy arrays, and puts it together again."""

    def split(self, value: Any) -> tuple[Any, "Arrays"]:
        """JSON and arrays, enough to make the value again."""

    def join(self, meta: Any, arrays: "Arrays") -> Any:
        """The value that `split` took apart."""

    def essence(self, value: Any) -> Any:
        """The JSON that tells two values apart; with the arrays' bytes it makes the digest."""

    def stamp(self, value: Any) -> Any:
        """Something cheap that changes when the value is written to."""


class ValueCodec:
    """The codec of every `Value` subclass."""

    def __init__(self, cls: type[Value]) -> None:
        self._cls = cls

    def split(self, value: Value) -> tuple[Any, "Arrays"]:
        """See `Codec.split`."""
        meta, arrays = value.split()
        return meta, [array.numpy() for array in arrays]

    def join(self, meta: Any, arrays: "Arrays") -> Value:
        """See `Codec.join`."""
        return self._cls.join(meta, [Array(array) for array in arrays])

    def essence(self, value: Value) -> Any:
        """See `Codec.essence`."""
        return value.essence()

    def stamp(self, value: Value) -> Any:
        """See `Codec.stamp`."""
        return tuple(array.stamp() for array in value.split()[1])


@dataclass(frozen=True, slots=True)
class PortType:
    """A kind of value: its name on ports, its class and its codec (None: values stay in this process)."""

    kind: str
    cls: type
    codec: Codec | None
    colour: str = "#8a8f98"
    help: str = ""

    def digest(self, value: Any) -> str | None:
        """The identity of a value, or None when it has none."""
        if self.codec is None:
            return None
        return keys.array_digest(self.kind, self.codec.essence(value), self.codec.split(value)[1])

    def nbytes(self, value: Any) -> int:
        """Bytes of the arrays inside, with some for the rest."""
        return 256 if self.codec is None else 256 + sum(array.nbytes for array in self.codec.split(value)[1])

    def encode(self, value: Any) -> bytes:
        """The value as safetensors bytes."""
        from safetensors.numpy import save

        assert self.codec is not None
        meta, arrays = self.codec.split(value)
        head = {"kind": self.kind, "meta": json.dumps(meta, allow_nan=False), "arrays": str(len(arrays))}
        blob: bytes = save({str(index): array for index, array in enumerate(arrays)}, metadata=head)
        return blob

    def decode(self, blob: bytes) -> Any:
        """The value that `encode` wrote. Raises FileError for anything else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        assert self.codec is not None
        try:
            length = int.from_bytes(blob[:8], "little")
            head = json.loads(blob[8 : 8 + length])["__metadata__"]
            tensors = load(blob)
            if head["kind"] != self.kind:
                raise FileError("a blob of another kind", expected=self.kind, got=head["kind"])
            arrays = [tensors[str(index)] for index in range(int(head["arrays"]))]
            return self.codec.join(json.loads(head["meta"]), arrays)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise FileError("not a blob of this cache", expected=self.kind, got=type(error).__name__) from error
