"""Takes the values of a call apart into JSON and arrays for a message, and joins them again on the other side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple
from typing import Any

import numpy as np

from latentloom.engine import keys
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.encoding import PictureToSave
from latentloom.engine.files.model_files import InputFile, ModelFile
from latentloom.engine.types.absent import Absent
from latentloom.engine.types.arrays import Array
from latentloom.engine.types.expansion import Expansion, Given
from latentloom.engine.types.literals import plain
from latentloom.engine.types.port_types import PortType, ValueCodec
from latentloom.engine.types.registry import Distribution, Ref, RegisteredType
from latentloom.engine.types.values import VALUE_TYPES, Value
from latentloom.plugins.isolation.frames import Message

FILES: dict[str, Callable[..., Any]] = {"InputFile": InputFile, "ModelFile": ModelFile}
Described = Sequence[tuple[str, str, str | None]]
"""Port types that are not the engine's own: kind, class and codec, as "module:name"."""


class Types:
    """The port types that may be packed."""

    def __init__(self, described: Described = ()) -> None:
        self._types = {cls.kind: PortType(cls.kind, cls, ValueCodec(cls)) for cls in VALUE_TYPES}
        nobody = Distribution("", "", "", "")
        self._others = {
            kind: RegisteredType(kind, Ref(cls), Ref(codec) if codec else None, nobody)
            for kind, cls, codec in described
        }

    def of(self, kind: str) -> PortType:
        """Return a port type. Raises BadValueError if its values cannot leave the process."""
        if kind not in self._types and kind in self._others:
            self._types[kind] = self._others[kind].load()
        found = self._types.get(kind)
        if found is None or found.codec is None:
            raise BadValueError(f"a {kind} cannot go to the process of an isolated plugin, or come from there")
        return found


class Packing:
    """Packs values for one message. `arrays` holds their arrays."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self.arrays: list[Any] = []

    def value(self, value: Any) -> Any:
        """Return a value as JSON. Raises BadValueError for values that cannot leave the process."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, list | tuple) and type(value) is not Given:
            return [self.value(item) for item in value]
        if isinstance(kind := getattr(value, "kind", None), str):
            return self._port_value(kind, value)
        return self._other(value)

    def _port_value(self, kind: str, value: Any) -> dict[str, Any]:
        codec, first = self._types.of(kind).codec, len(self.arrays)
        assert codec is not None
        if not isinstance(value, Value):
            meta, arrays = codec.split(value)
            self.arrays += arrays
            return {"is": "value", "kind": kind, "meta": plain(meta), "from": first, "to": len(self.arrays)}
        meta, own = value.split()
        self.arrays += [array.numpy() for array in own]
        spans = [array.known_span for array in own]
        return {
            "is": "value", "kind": kind, "meta": plain(meta), "from": first, "to": len(self.arrays), "spans": spans
        }  # fmt: skip

    def _other(self, value: Any) -> Any:
        if type(value) is dict:
            return {"is": "json", "json": plain(value)}
        if type(value) is Given:
            return {"is": "given", "given": list(value)}
        if isinstance(value, InputFile | ModelFile):
            return {"is": "file", "class": type(value).__name__, "fields": asdict(value)}
        if isinstance(value, Absent):
            return {"is": "absent", "absent": list(astuple(value))}
        if isinstance(value, Expansion):
            return {"is": "expansion", "record": plain(value.record())}
        return self._data(value)

    def _data(self, value: Any) -> Any:
        """What `ctx.save` and `ctx.keep` take."""
        if isinstance(value, PictureToSave):
            fields = {name: getattr(value, name) for name in value.__dataclass_fields__}
            return {"is": "picture", "fields": {name: self.value(item) for name, item in fields.items()}}
        if isinstance(value, bytes | bytearray | memoryview):
            self.arrays.append(np.frombuffer(value, np.uint8))
            return {"is": "bytes", "from": len(self.arrays) - 1}
        data = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        if isinstance(data, np.generic):
            return self.value(data.item())
        if not isinstance(data, np.ndarray):
            raise BadValueError(f"a {type(value).__name__} cannot go to another process")
        self.arrays.append(data)
        return {"is": "array", "from": len(self.arrays) - 1}


class Unpacking:
    """Joins the values of one message."""

    def __init__(self, message: Message, types: Types) -> None:
        self._message = message
        self._types = types
        self._joined: list[tuple[str, Any, dict[str, Any], bytes]] = []
        """The input, its value, how that was packed, and a digest of what may change."""

    def values(self, packed: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by name. `written` tells of those that were changed afterwards."""
        return {name: self.value(item, name) for name, item in packed.items()}

    def value(self, packed: Any, name: str = "") -> Any:
        """Return a value that `Packing.value` packed."""
        if type(packed) is list:
            return [self.value(item, name) for item in packed]
        if type(packed) is not dict:
            return packed
        arrays = self._message.arrays
        match packed["is"]:
            case "value":
                return self._port_value(packed, name)
            case "json":
                return packed["json"]
            case "given":
                return Given(*packed["given"])
            case "file":
                return FILES[packed["class"]](**packed["fields"])
            case "absent":
                return Absent(*packed["absent"])
            case "expansion":
                return Expansion.from_record(packed["record"])
            case "picture":
                return PictureToSave(**{field: self.value(item) for field, item in packed["fields"].items()})
            case "bytes":
                return arrays[packed["from"]].tobytes()
        return arrays[packed["from"]]

    def _port_value(self, packed: dict[str, Any], name: str) -> Any:
        port_type = self._types.of(packed["kind"])
        assert port_type.codec is not None
        arrays = self._message.arrays[packed["from"] : packed["to"]]
        if isinstance(port_type.codec, ValueCodec):
            spans = [tuple(span) if span else None for span in packed["spans"]]
            value = port_type.cls.join(packed["meta"], list(map(Array.known, arrays, spans)))  # type: ignore[attr-defined]
        else:
            value = port_type.codec.join(packed["meta"], arrays)
        self._joined.append((name, value, packed, self._content(value, packed)))
        return value

    def written(self) -> list[str]:
        """Return the names of the values that were changed since they were joined."""
        return [name for name, value, packed, content in self._joined if self._changed(value, packed, content)]

    def _changed(self, value: Any, packed: dict[str, Any], content: bytes) -> bool:
        return self._content(value, packed) != content or any(map(self._message.written, self._range(packed)))

    def _range(self, packed: dict[str, Any]) -> Iterable[int]:
        return range(packed["from"], packed["to"])

    def _content(self, value: Any, packed: dict[str, Any]) -> bytes:
        """Return what identifies a value, without its arrays if the message itself tells of writes to them."""
        codec = self._types.of(packed["kind"]).codec
        assert codec is not None
        if isinstance(value, Value):
            meta, own = value.split()
            told = self._message.shared is not None
            arrays = [] if told else [array.numpy() for array in own]
        else:
            meta, arrays = codec.split(value)  # type: ignore[assignment]
        return keys.array_digest(packed["kind"], plain(meta), arrays).encode()
