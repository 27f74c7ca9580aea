"""Small sample values for a node's inputs, created from its spec."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from latentloom.engine.engine import Engine
from latentloom.engine.files.pictures import encode_png
from latentloom.engine.planning.validate import CHOICE_SOURCES
from latentloom.engine.types.arrays import Array
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import InputSpec
from latentloom.engine.types.values import Cond, Conditioning, Image, Latent, Mask

SIDE = 16


class NoSampleError(Exception):
    """No sample value can be created for an input."""


class Samples:
    """Sample values for the inputs of nodes: the given ones, or ones created from the spec."""

    def __init__(self, given: Mapping[str, Mapping[str, Any]], engine: Engine) -> None:
        self._given = given
        self._engine = engine

    def of(self, node: NodeType) -> dict[str, Any]:
        """Return a value for each input. Raises NoSampleError."""
        given = self._given.get(node.spec.type.rpartition("/")[2], {})
        unknown = given.keys() - node.spec.by_name.keys()
        if unknown:
            raise NoSampleError(f"has no input '{min(unknown)}', but a sample for it")
        return {port.name: self._value(port, given) for port in node.spec.inputs}

    def _value(self, port: InputSpec, given: Mapping[str, Any]) -> Any:
        if port.name in given:
            value = given[port.name]
            return value() if callable(value) else value
        if not port.required:
            return port.default
        return [self._made(port), self._made(port)] if port.is_list else self._made(port)

    def _made(self, port: InputSpec) -> Any:
        if port.kind in ("INT", "FLOAT"):
            low = port.minimum if port.minimum is not None else min(1, port.maximum or 1)
            return int(low) if port.kind == "INT" else float(low)
        if port.kind == "STRING":
            return "a red circle"[: port.max_length].ljust(port.min_length or 0)
        if port.kind == "CHOICE":
            return self._choice(port)
        if port.kind == "FILE":
            return self._file()
        plain = {"BOOLEAN": True, "JSON": {}, "ANY": 1}
        value = plain[port.kind] if port.kind in plain else tensor(port.kind)
        if value is None:
            raise NoSampleError(f"needs a sample for its input '{port.name}' ({port.kind})")
        return value

    def _choice(self, port: InputSpec) -> str:
        source = CHOICE_SOURCES.get(port.source or "", "")
        choices = port.choices or tuple(self._engine.registry.extensions(source))
        if not choices:
            raise NoSampleError(f"needs a sample for its input '{port.name}': there is nothing to choose from")
        return choices[0]

    def _file(self) -> Any:
        path = self._engine.settings.input / "sample.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(_noise(SIDE, SIDE, 3), {}))
        return self._engine.catalog.identify("input", path.name)


def tensor(kind: str) -> Any:
    """Return a small deterministic value of a built-in tensor kind; None for other kinds."""
    makers: dict[str, Callable[[], Any]] = {
        "IMAGE": lambda: Image(_noise(2, SIDE, SIDE, 3)),
        "MASK": lambda: Mask(_noise(2, SIDE, SIDE)),
        "LATENT": lambda: Latent(_noise(2, 4, SIDE // 8, SIDE // 8)),
        "CONDITIONING": lambda: Conditioning([Cond(Array(_noise(1, 4, 8)))]),
    }
    return makers[kind]() if kind in makers else None


def _noise(*shape: int) -> Any:
    return np.random.default_rng(0).random(shape, dtype=np.float32)
