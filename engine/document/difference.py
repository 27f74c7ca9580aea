"""The difference between two workflows, by meaning: renamed, packed and moved nodes are the same nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from latentloom.engine.document.flatten import Flat, flatten
from latentloom.engine.document.matching import given, match
from latentloom.engine.document.workflow import GRAPH, Edge, Node, Repeat, Workflow
from latentloom.engine.types.registry import Registry

PROPERTIES = ("version", "mode", "title", "each", "on_error", "repeat")


class NodeName(NamedTuple):
    """A node and its type."""

    node: str
    type: str


class Rename(NamedTuple):
    """A node's id before and after. In a sub-workflow it is `parent/child`."""

    before: str
    after: str


class Change(NamedTuple):
    """A value before and after, as in a document; None if there was none. An edge is `{"node", "output"}`."""

    name: str
    before: Any
    after: Any


class NodeChange(NamedTuple):
    """The changed inputs and properties (version, mode, title) of a node. `node` is its id after the change."""

    node: str
    type: str
    inputs: tuple[Change, ...]
    properties: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What distinguishes two workflows. Sub-workflows are compared as the nodes inside them."""

    added: tuple[NodeName, ...]
    removed: tuple[NodeName, ...]
    changed: tuple[NodeChange, ...]
    inputs: tuple[Change, ...]
    """Named inputs, with the inputs of nodes that they set."""
    outputs: tuple[Change, ...]
    """Named outputs, with where they come from."""
    renamed: tuple[Rename, ...]
    name: Change | None
    layout: bool
    """Whether positions, notes, groups or extra data differ."""

    @property
    def same_results(self) -> bool:
        """Whether both workflows have the same nodes, inputs and outputs: ids, titles and layout do not count."""
        changed = any(node.inputs or any(item.name != "title" for item in node.properties) for node in self.changed)
        return not (self.added or self.removed or changed or self.inputs or self.outputs)

    def record(self) -> dict[str, Any]:
        """Return this difference as JSON."""
        return {
            "same_results": self.same_results,
            "added": [item._asdict() for item in self.added],
            "removed": [item._asdict() for item in self.removed],
            "changed": [_node_record(item) for item in self.changed],
            "inputs": [item._asdict() for item in self.inputs],
            "outputs": [item._asdict() for item in self.outputs],
            "renamed": [item._asdict() for item in self.renamed],
            "name": self.name and self.name._asdict(),
            "layout": self.layout,
        }


def difference(before: Workflow, after: Workflow, registry: Registry) -> Difference:
    """Compare two workflows. An input that is left out counts as its default."""
    return _Comparison(before, after, registry).difference()


class _Comparison:
    def __init__(self, before: Workflow, after: Workflow, registry: Registry) -> None:
        self._workflows = before, after
        self._registry = registry
        self._before, self._after = flatten(before, registry), flatten(after, registry)
        self._matches = match(self._before, self._after)
        self._partners = self._matches.partners

    def difference(self) -> Difference:
        before, after = self._workflows
        taken = set(self._partners.values())
        return Difference(
            added=_names(self._after, (id for id in self._after.nodes if id not in taken)),
            removed=_names(self._before, (id for id in self._before.nodes if id not in self._partners)),
            changed=tuple(self._changed()),
            inputs=tuple(self._inputs()),
            outputs=tuple(self._outputs()),
            renamed=tuple(Rename(a, b) for a, b in self._partners.items() if a != b),
            name=Change("name", before.name, after.name) if before.name != after.name else None,
            layout=_arrangement(before) != _arrangement(after),
        )

    def _changed(self) -> Iterable[NodeChange]:
        for id, other in self._partners.items():
            node, node_after = self._before.nodes[id], self._after.nodes[other]
            inputs = tuple(self._input_changes(given(self._before, id), given(self._after, other)))
            pairs = ((name, _property(node, name), _property(node_after, name)) for name in PROPERTIES)
            properties = tuple(Change(*pair) for pair in pairs if pair[1] != pair[2]) + self._inside(node)
            if inputs or properties:
                yield NodeChange(other, node_after.type, inputs, properties)

    def _inside(self, node: Node) -> tuple[Change, ...]:
        """Return a change if two uses that remained nodes differ inside: those that are mapped, muted or bypassed."""
        name = node.type.removeprefix(GRAPH)
        one, two = (replace(w.graphs[name], graphs=w.graphs) if name in w.graphs else None for w in self._workflows)
        if not node.type.startswith(GRAPH) or one is None or two is None or one == two:
            return ()
        same = difference(one, two, self._registry).same_results
        return () if same else (Change("graph", name, f"{name}, changed inside"),)

    def _input_changes(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[Change]:
        for name in (*before, *(name for name in after if name not in before)):
            one, other = before.get(name), after.get(name)
            if not self._equal(one, other):
                yield Change(name, _json(one), _json(other))

    def _equal(self, one: Any, other: Any) -> bool:
        """Compare an input's value before with the one after; true is not 1."""
        if type(one) is Edge and type(other) is Edge:
            return self._matches.same(one, other)
        if type(one) is list and type(other) is list:
            return len(one) == len(other) and all(map(self._equal, one, other))
        return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)

    def _inputs(self) -> Iterable[Change]:
        before = {item.name: item.to for item in self._before.inputs}
        after = {item.name: item.to for item in self._after.inputs}
        for name in (*before, *(name for name in after if name not in before)):
            moved = {target._replace(node=self._matches.partner(target.node)) for target in before.get(name, ())}
            if (name in before) != (name in after) or moved != set(after.get(name, ())):
                one = [target.record() for target in before[name]] if name in before else None
                yield Change(name, one, [target.record() for target in after[name]] if name in after else None)

    def _outputs(self) -> Iterable[Change]:
        before = {item.name: item.source for item in self._before.outputs}
        after = {item.name: item.source for item in self._after.outputs}
        return self._input_changes(before, after)


def _names(flat: Flat, ids: Iterable[str]) -> tuple[NodeName, ...]:
    return tuple(NodeName(id, flat.nodes[id].type) for id in ids)


def _property(node: Node, name: str) -> Any:
    value = getattr(node, name)
    return value.record() if isinstance(value, Repeat) else value


def _arrangement(workflow: Workflow) -> Any:
    extras = [node.extra for scope in workflow.scopes() for node in scope.nodes.values() if node.extra is not None]
    return [(scope.layout, scope.extra) for scope in workflow.scopes()], extras


def _json(value: Any) -> Any:
    if type(value) is Edge:
        return value.record()
    return [_json(item) for item in value] if type(value) is list else value


def _node_record(change: NodeChange) -> dict[str, Any]:
    parts = {name: [item._asdict() for item in getattr(change, name)] for name in ("inputs", "properties")}
    return {"node": change.node, "type": change.type, **parts}
