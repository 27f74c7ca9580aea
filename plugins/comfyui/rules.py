"""The types that conversion rules use to convert a ComfyUI node to our nodes."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from latentloom.engine.errors import brief
from latentloom.plugins.comfyui.graph import Link, SourceNode
from latentloom.plugins.comfyui.object_info import class_table
from latentloom.plugins.comfyui.report import Report

NOISE_RULE = "comfyui"
MOST = 1e9  # largest number that rules accept


class Inner(NamedTuple):
    """A reference to an output of a further node that a rule makes."""

    name: str
    output: str


@dataclass(frozen=True, slots=True)
class Made:
    """One of our nodes: its inputs (literals, Links, Inners), and its outputs in the order of the ComfyUI node's.

    An output may be that of a further node, or a Link to what is passed on. `inner` contains further nodes by name,
    which are upstream of it.
    """

    type: str
    version: int
    inputs: Mapping[str, Any]
    outputs: tuple[str | Inner | Link, ...] = ()
    inner: Mapping[str, "Made"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passed:
    """No node: each output is replaced by the output of another node."""

    outputs: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """No node: each output is replaced by a literal."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """No node: the linked output becomes a named output of the workflow."""

    name: str
    source: Link


class Unmappable(Exception):
    """This use of a class has no counterpart. The message is the reason."""


Result = Made | Passed | Known | Named
Rule = Callable[["Use"], Result]


class Scene:
    """What rules read besides their own node: the whole graph and the report."""

    def __init__(self, graph: Mapping[str, SourceNode], report: Report) -> None:
        self.graph = graph
        self.report = report
        self.used = frozenset(value for node in graph.values() for value in node.inputs.values() if type(value) is Link)
        self.negatives: dict[str, Link] = {}  # node upstream of a sampler's positive -> the sampler's negative
        for node in graph.values():
            negative = node.inputs.get("negative")
            if type(negative) is Link:
                self._beside(node.inputs.get("positive"), negative)

    def _beside(self, link: Any, negative: Link) -> None:
        while type(link) is Link and link.node not in self.negatives:
            self.negatives[link.node] = negative
            link = self.graph[link.node].inputs.get("conditioning")


@dataclass(slots=True)
class Use:
    """One node that a rule converts. Inputs that the rule does not read are reported as lost."""

    node: SourceNode
    scene: Scene
    names: dict[str, str] = field(default_factory=dict)  # our input names by ComfyUI's
    _taken: set[str] = field(default_factory=set)
    _parts: list["Use"] = field(default_factory=list)

    def take(self, **names: str) -> dict[str, Any]:
        """Return our inputs from ComfyUI's, given as ours="theirs". A missing one is reported; our default applies."""
        found = {}
        for ours, theirs in names.items():
            self._taken.add(theirs)
            self.names[theirs] = ours
            if theirs in self.node.inputs:
                found[ours] = number_of(self.node.type, theirs, self.node.inputs[theirs])
            else:
                self.note("changed", f"'{theirs}' is not given; the default of '{ours}' counts")
        return found

    def value(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Return a literal of a type. Raises Unmappable for anything else."""
        self._taken.add(name)
        value = self.node.inputs.get(name, default)
        if type(value) is Link:
            value = self._primitive(value)
        value = number_of(self.node.type, name, value)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in kinds:
            raise Unmappable(f"'{name}' is {brief(value)}, which cannot be read here")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a literal number. Raises Unmappable for anything else, and for numbers that are too large."""
        return float(self._bounded(name, self.value(name, (int, float), default)))

    def whole(self, name: str, default: int | None = None) -> int:
        """Return a literal integer, like `number`."""
        return int(self._bounded(name, self.value(name, int, default)))

    def _bounded(self, name: str, value: float) -> float:
        if abs(value) > MOST:
            raise Unmappable(f"'{name}' is {brief(value)}, which is too large")
        return value

    def file(self, name: str) -> str:
        """Return the name of a file, with "/" as separator."""
        return str(self.value(name, str)).replace("\\", "/")

    def _primitive(self, link: Link) -> Any:
        source = self.scene.graph[link.node]
        return source.inputs.get("value") if source.type.startswith("Primitive") else None

    def link(self, name: str) -> Link:
        """Return a link. Raises Unmappable if there is none."""
        self._taken.add(name)
        found = self.node.inputs.get(name)
        if type(found) is not Link:
            raise Unmappable(f"nothing is connected to '{name}'")
        return found

    def source(self, name: str, *types: str) -> "Use":
        """Return the node behind a link as a part of this one. Raises Unmappable if its class is not in `types`."""
        found = self.scene.graph[self.link(name).node]
        if found.type not in types:
            raise Unmappable(f"'{name}' comes from {found.type}, not from {' or '.join(types)}")
        part = Use(found, self.scene)
        self._parts.append(part)
        return part

    def above(self, name: str, types: Mapping[str, str]) -> Iterator[SourceNode]:
        """Yield the upstream nodes of some classes, nearest first. `types` maps each class to the input to follow."""
        link, seen = self.node.inputs.get(name), set[str]()
        while type(link) is Link and link.node not in seen:
            seen.add(link.node)
            node = self.scene.graph[link.node]
            if node.type not in types:
                return
            yield node
            link = node.inputs.get(types[node.type])

    def uses(self, slot: int) -> bool:
        """Whether any node uses an output of this one."""
        return Link(self.node.id, slot) in self.scene.used

    def ignore(self, *names: str) -> None:
        """Mark inputs as read whose loss has no effect."""
        self._taken |= set(names)

    def note(self, what: str, message: str) -> None:
        """Add a line to the report."""
        self.scene.report.note(self.node.id, what, message)

    def end(self) -> None:
        """Report the unread inputs of this node and of its parts."""
        for name in self.node.inputs.keys() - self._taken:
            value = self.node.inputs[name]
            text = f"the link from '{value.node}'" if type(value) is Link else brief(value)
            self.note("lost", f"'{name}' ({text}) has no counterpart")
        for part in self._parts:
            part.end()


def number_of(type: str, name: str, value: Any) -> Any:
    """Return the number that a text or a fraction stands for, if the class wants a number: ComfyUI converts these."""
    kind = number_kinds().get((type, name))
    if kind is None or not isinstance(value, (str, float)):
        return value
    try:
        number = float(value)
        whole = int(value) if isinstance(value, str) and kind == "INT" else None
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    return number if kind == "FLOAT" else int(number) if whole is None else whole


@cache
def number_kinds() -> Mapping[tuple[str, str], str]:
    """Return the inputs of classes that are numbers: INT or FLOAT by class and name."""
    return {
        (info.name, name): kind
        for info in class_table().values()
        for name, kind, _ in (*info.required, *info.optional)
        if kind in ("INT", "FLOAT")
    }


def renamed(type: str, version: int, outputs: str, fixed: Mapping[str, Any] | None = None, **names: str) -> Rule:
    """Return the rule for a class that differs from our node only in names."""

    def rule(use: Use) -> Result:
        return Made(type, version, {**use.take(**names), **(fixed or {})}, tuple(outputs.split()))

    return rule


def sized(**names: str) -> dict[str, Any]:
    """Return the names of `renamed` for a class with a width and a height."""
    return {"width": "width", "height": "height", **names}


def saved_name(use: Use, default: str) -> str:
    """Return our name template for a ComfyUI prefix."""
    prefix = str(use.value("filename_prefix", str, default))
    if "%" in prefix or "{" in prefix:
        use.note("changed", f"the name '{prefix}' has parts that are not filled in here")
    clean = "".join("_" if sign in '%{}:\\*?"<>|' else sign for sign in prefix).strip("/. ") or "picture"
    return f"{clean}_{{counter}}"


def passing(input: str, why: str) -> Rule:
    """Return the rule for a class that passes an input on. `why` describes the loss."""

    def rule(use: Use) -> Result:
        use.ignore(*use.node.inputs)
        use.note("lost", why)
        return Passed((use.link(input),))

    return rule
