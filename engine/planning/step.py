"""Validated nodes, and a validated workflow: what a plan is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from latentloom.engine.document.workflow import TURNS, Edge, OnError, Repeat, edges_in
from latentloom.engine.errors import Problem
from latentloom.engine.files.picture_sets import PictureSet
from latentloom.engine.planning.graph import Graph
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import NodeSpec


class Files(Protocol):
    """The part of a catalog that validation needs."""

    def check(self, source: str, name: str, *, alike: bool) -> None:
        """Raise a LoomError if the name is not a file. With `alike`, it contains the most similar name."""

    def captions(self, name: str) -> PictureSet:
        """Return the names and captions of a data set's pictures. Raises a LoomError."""

    def compare(self, files: Iterable[Any]) -> None:
        """Raise ChangedFileError if the content of one of these identified files has changed."""


@dataclass(slots=True)
class Step:
    """A validated node. It can run when its edges have values."""

    id: str
    type: NodeType
    literals: dict[str, Any] = field(default_factory=dict)
    edges: dict[str, Any] = field(default_factory=dict)  # an Edge, or a list of Edges and literals
    depth: int = 0  # how many expansions it is inside
    each: "Each | None" = None
    loop: "Loop | None" = None
    spec: NodeSpec = field(init=False)
    _sources: dict[bool, tuple[str, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.spec = self.type.spec

    def sources(self, *, lazy: bool) -> tuple[str, ...]:
        """Return the ids that this step depends on, each once; without `lazy`, only those of eager inputs.

        Call it only when all edges are set: the result is cached.
        """
        if lazy not in self._sources:
            values = [value for name, value in self.edges.items() if lazy or not self.spec.by_name[name].lazy]
            self._sources[lazy] = tuple(dict.fromkeys(edge.node for value in values for edge in edges_in(value)))
        return self._sources[lazy]


@dataclass(slots=True)
class Checked:
    """A validated workflow: its steps (without bypassed and muted nodes), wanted outputs, and all problems."""

    steps: dict[str, Step]
    outputs: dict[str, Edge]
    wanted: list[str]
    problems: list[Problem]
    graph: Graph

    @property
    def needs_device(self) -> bool:
        """Whether a wanted step, or a step that it depends on, computes on a device."""
        needed = self.graph.upstream([id for id in self.wanted if id in self.steps])
        return any(self.steps[id].spec.device for id in needed)

    def deprecated(self) -> list[tuple[str, str]]:
        """Return a node and a message for each deprecated node type that a wanted step is of or depends on."""
        found: dict[str, list[str]] = {}
        for id in self.graph.upstream([id for id in self.wanted if id in self.steps]):
            if self.steps[id].spec.deprecated:
                found.setdefault(self.steps[id].spec.type, []).append(id)
        return [(min(ids), self._deprecation(ids)) for _, ids in sorted(found.items())]

    def _deprecation(self, ids: list[str]) -> str:
        spec = self.steps[ids[0]].spec
        return f"{spec.type} is deprecated: {spec.deprecated}" + (f" ({len(ids)} nodes)" if len(ids) > 1 else "")

    def names(self, node: str) -> list[str]:
        """Return the named outputs that a node delivers, alone or as one item or turn of a step.

        Of a loop that may end early, every turn counts as the last one.
        """
        return [name for name, edge in self.outputs.items() if self._delivers(node, edge)]

    def _delivers(self, node: str, edge: Edge) -> bool:
        step = self.steps.get(edge.node)
        if step is None or (step.each is None and step.loop is None):
            return edge.node == node
        number, _, rest = node.removeprefix(f"{step.id}/").partition("/")
        if not node.startswith(f"{step.id}/") or not number.isdecimal():
            return False
        if step.loop is not None and not step.loop.delivers(int(number), step.literals.get(TURNS), edge.output):
            return False
        repetition = step.each or step.loop
        assert repetition is not None
        inside = f"{repetition.root}/{rest}" if rest else repetition.root
        return repetition.template._delivers(inside, repetition.template.outputs[edge.output])


@dataclass(frozen=True, slots=True)
class Each:
    """How a step runs once for each item of its lists.

    The steps of `template` have the ids `root` and `root/child`. They read the inputs of the mapped step from ITEM.
    """

    names: tuple[str, ...]
    on_error: OnError
    root: str
    template: Checked


@dataclass(frozen=True, slots=True)
class Loop:
    """How a step runs turn by turn. `first` and `template`, for the later turns, are like the template of Each."""

    repeat: Repeat
    root: str
    first: Checked
    template: Checked

    def delivers(self, turn: int, turns: Any, output: str) -> bool:
        """Whether a turn, from 1, delivers an output; `turns` is their number if it is known."""
        return output in self.repeat.collect or self.repeat.until is not None or turns in (None, turn)


ITEM = "@item"
