"""Descriptions of the supported classes in ComfyUI's format: inputs, outputs and choices by name."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from latentloom.engine.types.registry import NodeType, Registry
from latentloom.engine.types.spec import ANY, InputSpec
from latentloom.plugins.comfyui.bridge.imported import PREFIX

Choices = Callable[[str], Sequence[str]]  # source -> installed names
SINKS = frozenset({
    "SaveImage", "SaveImageWebsocket", "SaveLatent", "PreviewImage", "MaskPreview", "ImageCompare", "PreviewAny",
    "CheckpointSave", "Image Comparer (rgthree)",
})  # fmt: skip
_KINDS = {"CHOICE": "COMBO", ANY: "*"}
_PART = re.compile(
    r'(?P<name>[^\s:]{0,40}):(?P<type>\[[^\]]{0,400}\]|@[^\s=]{1,40}|[^\s=]{1,40})(?:=(?P<bounds>"[^"]{0,80}"|\S{1,80}))?'
)


class ClassInfo(NamedTuple):
    """An entry of the table of classes."""

    name: str
    category: str
    required: tuple[tuple[str, str, str], ...]  # name, type, default and bounds
    optional: tuple[tuple[str, str, str], ...]
    outputs: tuple[str, ...]


@cache
def class_table() -> dict[str, ClassInfo]:
    """Return all classes in the table."""
    text = (files("latentloom.plugins.comfyui") / "object_info.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {info.name: info for info in map(_row, lines)}


def _row(line: str) -> ClassInfo:
    name, category, inputs, outputs = (part.strip() for part in line.rsplit(" | ", 3))
    required, _, optional = inputs.partition(";")
    kinds = () if name in SINKS else tuple(outputs.split())
    return ClassInfo(name, category, tuple(_inputs(required)), tuple(_inputs(optional)), kinds)


def _inputs(text: str) -> Iterator[tuple[str, str, str]]:
    for found in _PART.finditer(text):
        yield found["name"], found["type"], found["bounds"] or ""


def object_info(choices: Choices) -> dict[str, Any]:
    """Return the descriptions of all classes."""
    known: dict[str, Sequence[str]] = {}

    def once(source: str) -> Sequence[str]:
        if source not in known:
            known[source] = choices(source)
        return known[source]

    return {name: _described(info, once) for name, info in class_table().items()}


def _described(info: ClassInfo, choices: Choices) -> dict[str, Any]:
    parts = {"required": info.required, "optional": info.optional}
    inputs = {
        kind: {name: _port(type, bounds, choices) for name, type, bounds in found} for kind, found in parts.items()
    }
    return {
        "input": inputs,
        "input_order": {kind: [name for name, _, _ in found] for kind, found in parts.items()},
        "output": list(info.outputs),
        "output_is_list": [False] * len(info.outputs),
        "output_name": list(info.outputs),
        "name": info.name,
        "display_name": info.name,
        "description": "",
        "python_module": "nodes",
        "category": info.category,
        "output_node": info.name in SINKS,
    }


def pack_info(registry: Registry) -> dict[str, Any]:
    """Return the descriptions of the classes of installed packs."""
    return {
        type.removeprefix(PREFIX): _pack_class(type.removeprefix(PREFIX), node)
        for type, node in registry.nodes.items()
        if type.startswith(PREFIX)
    }


def _pack_class(name: str, node: NodeType) -> dict[str, Any]:
    spec = node.spec
    parts = {kind: [p for p in spec.inputs if p.optional == (kind == "optional")] for kind in ("required", "optional")}
    kinds = [_KINDS.get(port.kind, port.kind) for port in spec.outputs]
    return {
        "input": {kind: {port.name: _pack_port(port) for port in ports} for kind, ports in parts.items()},
        "input_order": {kind: [port.name for port in ports] for kind, ports in parts.items()},
        "output": kinds, "output_is_list": [port.is_list for port in spec.outputs], "output_name": kinds,
        "name": name, "display_name": name, "description": spec.help,
        "python_module": f"custom_nodes.{node.distribution.name}", "category": spec.category,
        "output_node": spec.purity == "sink",
    }  # fmt: skip


def _pack_port(port: InputSpec) -> list[Any]:
    if port.choices:
        return [list(port.choices), {"default": port.default}]
    facts = {"default": port.default, "min": port.minimum, "max": port.maximum}
    facts |= {"multiline": True} if port.widget == "multiline" else {}
    return [_KINDS.get(port.kind, port.kind), {name: value for name, value in facts.items() if value is not None}]


def _port(type: str, bounds: str, choices: Choices) -> list[Any]:
    """Return an input in the older format, which all clients support: a list of choices, or a type with bounds."""
    if type.startswith("@"):
        more = {"image_upload": True} if type == "@input" else {}
        return [list(choices(type[1:])), more]
    if type.startswith("["):
        return [[word.strip().strip('"') for word in type[1:-1].split(",") if word.strip()], {}]
    return [type, _facts(type, bounds)]


def _facts(type: str, bounds: str) -> dict[str, Any]:
    if type == "STRING":
        return {"default": json.loads(bounds) if bounds else "", "multiline": not bounds}
    if not bounds:
        return {}
    return dict(zip(("default", "min", "max"), map(json.loads, bounds.split(",")), strict=False))
