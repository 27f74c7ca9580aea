"""Cache keys: blake2b-256 digests of type-tagged canonical bytes. Iterative, so deep values are safe."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

SCHEMA = "latentloom/step/2"


class Unhashable(TypeError):
    """A value has no canonical bytes, so results that depend on it cannot be cached."""


def canonical(value: Any) -> bytes:
    """Return bytes that differ whenever two values differ in type or content.

    Accepts None, bool, int, float (-0.0 and 0.0 differ, NaN raises), str, bytes, list or tuple, and mappings with str
    keys. Raises Unhashable for anything else.
    """
    out: list[bytes] = []
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is str:
            data = _utf8(item)
            out.append(b"s%d:%s" % (len(data), data))
        elif kind is int:
            out.append(b"i%x;" % item if item >= 0 else b"i-%x;" % -item)
        elif kind is float:
            out.append(_float(item))
        elif kind is bool:
            out.append(b"T" if item else b"F")
        elif item is None:
            out.append(b"N")
        elif kind is bytes:
            out.append(b"b%d:%s" % (len(item), item))
        elif kind is list or kind is tuple:
            out.append(b"l%d:" % len(item))
            stack += item[::-1]
        elif kind is dict or isinstance(item, Mapping):
            out.append(b"d%d:" % len(item))
            for name in sorted(map(_text, item), reverse=True):
                stack += (item[name], name)
        else:
            raise Unhashable(f"{kind.__name__} has no canonical bytes")
    return b"".join(out)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unhashable("a text contains an unpaired surrogate") from None


def _float(number: float) -> bytes:
    if number != number:
        raise Unhashable("NaN has no identity")
    return b"f" + struct.pack("<d", number)


def _text(name: Any) -> str:
    if type(name) is not str:
        raise Unhashable(f"a mapping's key must be text, got {type(name).__name__}")
    return name


def digest(*parts: Any) -> str:
    """Return the blake2b-256 of the canonical bytes of parts, 64 hexadecimal digits."""
    return blake2b(canonical(parts), digest_size=32).hexdigest()


def array_digest(kind: str, essence: Any, arrays: Iterable[Any]) -> str:
    """Return the digest of a value with numpy arrays."""
    state = blake2b(canonical(("value", kind, essence)), digest_size=32)
    for array in arrays:
        state.update(canonical((str(array.dtype), list(array.shape))))
        state.update(memoryview(array).cast("B") if array.size else b"")
    return state.hexdigest()


def literal_digest(kind: str, value: Any) -> str:
    """Return the digest of a literal value of a kind."""
    return digest("value", kind, value)


@dataclass(frozen=True, slots=True)
class Base:
    """The fields that all steps of a node type share: type, version, code, environment, salt."""

    fields: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Base":
        """Return the fields with their digest, so that they are hashed once and not for each step."""
        return cls(fields, digest(SCHEMA, fields))


class Fields(NamedTuple):
    """The fields of a step's cache key, by name, so that two keys can be compared field by field."""

    base: Base
    inputs: Mapping[str, Any]  # input -> digest, or a list of digests
    more: Mapping[str, Any] | None = None  # a call of `needs`, a run, a fingerprint

    def key(self) -> str:
        """Return the cache key of the step."""
        return digest(self.base.digest, self.inputs, self.more)

    def record(self) -> dict[str, Any]:
        """Return all fields as JSON, for explanations."""
        return {**self.base.fields, "inputs": self.inputs, **(self.more or {})}
