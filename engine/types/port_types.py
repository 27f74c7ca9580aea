"""Port types: serialisation, digest and private copies of the values of one kind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine import keys
from latentloom.engine.errors import FileError
from latentloom.engine.types.arrays import Array
from latentloom.engine.types.literals import plain
from latentloom.engine.types.values import Value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = Sequence[npt.NDArray[np.generic]]


class Codec(Protocol):
    """Splits a value of one port type into JSON and numpy arrays, and joins them to a value again."""

    def split(self, value: Any) -> tuple[Any, "Arrays"]:
        """Return JSON and arrays from which `join` can restore the value."""

    def join(self, meta: Any, arrays: "Arrays") -> Any:
        """Restore the value that `split` returned the parts of."""

    def essence(self, value: Any) -> Any:
        """Return the JSON that identifies the value. The digest covers it and the bytes of the arrays."""


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

    def private(self, value: Value) -> Value:
        """See `PortType.private`. Arrays are copied on first access."""
        meta, arrays = value.split()
        return self._cls.join(plain(meta), [array.lent() for array in arrays])

    def sealed(self, value: Value) -> Value:
        """See `PortType.sealed`."""
        meta, arrays = value.split()
        return self._cls.join(plain(meta), [array.sealed() for array in arrays])

    def equal(self, one: Value, two: Value) -> bool:
        """See `PortType.equal`."""
        (meta, arrays), (other, others) = one.split(), two.split()
        alike = len(arrays) == len(others) and _bytes(meta) == _bytes(other)
        return alike and all(map(Array.equals, arrays, others))


@dataclass(frozen=True, slots=True)
class PortType:
    """A port type: its kind, its class and its codec (None: values never leave this process)."""

    kind: str
    cls: type
    codec: Codec | None
    colour: str = "#8a8f98"
    help: str = ""

    def digest(self, value: Any) -> str | None:
        """Return the digest of a value, or None without a codec."""
        if self.codec is None:
            return None
        return keys.array_digest(self.kind, self.codec.essence(value), self.codec.split(value)[1])

    def private(self, value: Any) -> Any:
        """Return a private copy for code that may modify it. Without a codec, return the value itself."""
        if isinstance(self.codec, ValueCodec):
            return self.codec.private(value)
        return self._copied(value)

    def sealed(self, value: Any) -> Any:
        """Return the value in memory that its creator has no reference to. Without a codec, return the value itself."""
        if isinstance(self.codec, ValueCodec):
            return self.codec.sealed(value)
        return self._copied(value)

    def equal(self, one: Any, two: Any) -> bool:
        """Whether two values have the same content, including the names of files."""
        if self.codec is None:
            return one is two
        if isinstance(self.codec, ValueCodec):
            return self.codec.equal(one, two)
        (meta, arrays), (other, others) = self.codec.split(one), self.codec.split(two)
        return keys.array_digest(self.kind, plain(meta), arrays) == keys.array_digest(self.kind, plain(other), others)

    def _copied(self, value: Any) -> Any:
        if self.codec is None:
            return value
        meta, arrays = self.codec.split(value)
        return self.codec.join(plain(meta), [array.copy() for array in arrays])

    def nbytes(self, value: Any) -> int:
        """Return the size in bytes: the arrays, plus 256 for the rest."""
        return 256 if self.codec is None else 256 + sum(array.nbytes for array in self.codec.split(value)[1])

    def encode(self, value: Any) -> bytes:
        """Return the value as safetensors bytes."""
        from safetensors.numpy import save

        assert self.codec is not None
        meta, arrays = self.codec.split(value)
        head = {"kind": self.kind, "meta": json.dumps(meta, allow_nan=False), "arrays": str(len(arrays))}
        blob: bytes = save({str(index): array for index, array in enumerate(arrays)}, metadata=head)
        return blob

    def decode(self, blob: bytes) -> Any:
        """Return the value that `encode` wrote. Raises FileError for any other bytes."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        assert self.codec is not None
        try:
            length = int.from_bytes(blob[:8], "little")
            head = json.loads(blob[8 : 8 + length])["__metadata__"]
            tensors = load(blob)
            if head["kind"] != self.kind:
                raise FileError("a blob of a different kind", expected=self.kind, got=head["kind"])
            arrays = [tensors[str(index)] for index in range(int(head["arrays"]))]
            return self.codec.join(json.loads(head["meta"]), arrays)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise FileError("not a blob of this cache", expected=self.kind, got=type(error).__name__) from error


def _bytes(meta: Any) -> bytes:
    return keys.canonical(plain(meta))
