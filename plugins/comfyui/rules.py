"""How a rule turns one node of ComfyUI's into one of ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from latentloom.engine.errors import brief
from latentloom.plugins.comfyui.graph import Link, SourceNode
from latentloom.plugins.comfyui.report import Report


@dataclass(frozen=True, slots=True)
class Made:
    """One of our nodes: its inputs (literals, or Links), and which of its outputs theirs are, by place."""

    type: str
    version: int
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """No node of its own: each output is what another node's output gives."""

    outputs: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """No node of its own: what is linked becomes a named output of the workflow."""

    name: str
    source: Link


class Unmappable(Exception):
    """A use of a class that has no counterpart here; the text says why."""


Result = Made | Passed | Named
Rule = Callable[["Use"], Result]


@dataclass(slots=True)
class Use:
    """One node, as a rule takes it apart; what it leaves is told as lost."""

    node: SourceNode
    graph: Mapping[str, SourceNode]
    report: Report
    names: dict[str, str] = field(default_factory=dict)  # our inputs by theirs
    _taken: set[str] = field(default_factory=set)

    def take(self, **names: str) -> dict[str, Any]:
        """Our inputs by name, each from theirs. What is not there is told, and left to our default."""
        found = {}
        for ours, theirs in names.items():
            self._taken.add(theirs)
            self.names[theirs] = ours
            if theirs in self.node.inputs:
                found[ours] = self.node.inputs[theirs]
            else:
                self.note("changed", f"'{theirs}' is not given; the default of '{ours}' counts")
        return found

    def value(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """A literal of a type, which a rule computes with. Raises Unmappable for anything else."""
        self._taken.add(name)
        value = self.node.inputs.get(name)
        if type(value) is Link:
            value = self._primitive(value)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in kinds:
            raise Unmappable(f"'{name}' is {brief(value)}, which cannot be read here")
        return value

    def _primitive(self, link: Link) -> Any:
        source = self.graph[link.node]
        return source.inputs.get("value") if source.type.startswith("Primitive") else None

    def link(self, name: str) -> Link:
        """A link. Raises Unmappable when there is none."""
        self._taken.add(name)
        found = self.node.inputs.get(name)
        if type(found) is not Link:
            raise Unmappable(f"nothing is connected to '{name}'")
        return found

    def source(self, name: str, *types: str) -> "Use":
        """The node behind a link, if it is of one of those classes. Raises Unmappable."""
        found = self.graph[self.link(name).node]
        if found.type not in types:
            raise Unmappable(f"'{name}' comes from {found.type}, not from {' or '.join(types)}")
        return Use(found, self.graph, self.report)

    def ignore(self, *names: str) -> None:
        """Inputs that have no meaning here, and whose loss changes nothing."""
        self._taken |= set(names)

    def note(self, what: str, message: str) -> None:
        """Add a line to the report."""
        self.report.note(self.node.id, what, message)

    def end(self) -> None:
        """Tell what no rule took."""
        for name in self.node.inputs.keys() - self._taken:
            value = self.node.inputs[name]
            text = f"the link from '{value.node}'" if type(value) is Link else brief(value)
            self.note("lost", f"'{name}' ({text}) has no counterpart")
