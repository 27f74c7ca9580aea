"""Matches the nodes of two workflows, whatever their ids: the same node after it was renamed or packed."""

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from latentloom.engine.document.flatten import Flat
from latentloom.engine.document.workflow import Edge, Node, edges_in

_Consumers = Mapping[tuple[str, str, str], list[str]]  # ids by output, input and type


class Matches(NamedTuple):
    """The ids of the nodes before, each with the id of the same node after, and the digests of all nodes.

    Nodes with the same digest have the same type, mode and inputs, and so have all nodes that they depend on.
    """

    partners: Mapping[str, str]
    before: Mapping[str, str]
    after: Mapping[str, str]

    def partner(self, id: str) -> str:
        """Return the id after of a node before; "" for a removed one, and the same id for one that never was."""
        return self.partners.get(id, "" if id in self.before else id)

    def same(self, one: Edge, other: Edge) -> bool:
        """Return whether an edge before and one after deliver the same."""
        if one.output != other.output:
            return False
        return self.partner(one.node) == other.node or self.before.get(one.node, "") == self.after.get(other.node)


def given(flat: Flat, id: str) -> dict[str, Any]:
    """Return a node's inputs with the defaults of those that the document leaves out."""
    node, type = flat.nodes[id], flat.types.get(id)
    ports = type.spec.inputs if type is not None else ()
    return {port.name: port.default for port in ports if not port.required} | dict(node.inputs)


def match(before: Flat, after: Flat) -> Matches:
    """Match nodes of the same type: by id, then by digest, then by their edges to nodes that are matched already.

    If the digests say that the ids of two nodes were exchanged, they count more than the ids.
    """
    return _Matching(before, after).matches()


class _Matching:
    def __init__(self, before: Flat, after: Flat) -> None:
        self._before = before
        self._after = after
        self._digests = (_digests(before), _digests(after))
        self._found: dict[str, str] = {}
        self._taken: set[str] = set()

    def matches(self) -> Matches:
        self._same_id(lambda id: self._digests[0].get(id) == self._digests[1].get(id))
        exchanged = self._exchanged()
        self._same_id(lambda id: id not in exchanged)
        self._same_digest()
        self._same_id(lambda id: True)
        self._neighbours()
        return Matches(self._found, *self._digests)

    def _match(self, one: str, other: str) -> None:
        self._found[one] = other
        self._taken.add(other)

    def _free(self, one: str, other: str) -> bool:
        """Return whether two nodes of the same type have no partners yet."""
        if one in self._found or other in self._taken:
            return False
        a, b = self._before.nodes.get(one), self._after.nodes.get(other)
        return a is not None and b is not None and a.type == b.type

    def _same_id(self, wanted: Callable[[str], bool]) -> None:
        for id in self._before.nodes:
            if self._free(id, id) and wanted(id):
                self._match(id, id)

    def _exchanged(self) -> set[str]:
        """Return the ids whose nodes, the one before and the one after, are both found under another id."""
        before = {self._digests[0].get(id): id for id in self._before.nodes if id not in self._found}
        after = {self._digests[1].get(id): id for id in self._after.nodes if id not in self._taken}
        return {
            id for one, id in before.items() if one in after and self._digests[1].get(id) in before and id != after[one]
        }

    def _same_digest(self) -> None:
        waiting: dict[str, deque[str]] = defaultdict(deque)
        for id in sorted(self._after.nodes.keys() - self._taken):
            if (digest := self._digests[1].get(id)) is not None:
                waiting[digest].append(id)
        for id in sorted(self._before.nodes.keys() - self._found.keys()):
            others = waiting.get(self._digests[0].get(id, ""))
            if others:
                self._match(id, others.popleft())

    def _neighbours(self) -> None:
        consumers = _consumers(self._before), _consumers(self._after)
        pairs = deque(self._found.items())
        while pairs:
            one, other = pairs.popleft()
            for pair in (*self._sources(one, other), *self._users(one, other, consumers)):
                if self._free(*pair):
                    self._match(*pair)
                    pairs.append(pair)

    def _sources(self, one: str, other: str) -> Iterator[tuple[str, str]]:
        a, b = self._before.nodes[one].inputs, self._after.nodes[other].inputs
        for name in a.keys() & b.keys():
            for edge, edge_after in zip(edges_in(a[name]), edges_in(b[name]), strict=False):
                if edge.output == edge_after.output:
                    yield edge.node, edge_after.node

    def _users(
        self, one: str, other: str, consumers: tuple[Mapping[str, _Consumers], Mapping[str, _Consumers]]
    ) -> Iterator[tuple[str, str]]:
        """Pair the consumers that alone hang on the same output with the same input."""
        theirs = consumers[1].get(other, {})
        for key, ids in consumers[0].get(one, {}).items():
            a = [id for id in ids if id not in self._found]
            b = [id for id in theirs.get(key, ()) if id not in self._taken]
            if len(a) == len(b) == 1:
                yield a[0], b[0]


def _consumers(flat: Flat) -> Mapping[str, _Consumers]:
    found: dict[str, dict[tuple[str, str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for id, node in flat.nodes.items():
        for name, value in node.inputs.items():
            for edge in edges_in(value):
                found[edge.node][edge.output, name, node.type].append(id)
    return found


def _digests(flat: Flat) -> dict[str, str]:
    """Return the digest of each node; a different one for each node if they form a circle."""
    named: dict[str, list[Any]] = defaultdict(list)
    for item in flat.inputs:
        for target in item.to:
            named[target.node].append([target.input, target.item, item.name])
    known: dict[str, str] = {}
    try:
        order = list(TopologicalSorter({id: _upstream(node) for id, node in flat.nodes.items()}).static_order())
    except CycleError:
        return {id: f"{number} of a circle" for number, id in enumerate(flat.nodes)}
    for id in (id for id in order if id in flat.nodes):
        node, inputs = flat.nodes[id], {name: _plain(value, known) for name, value in given(flat, id).items()}
        repeat = node.repeat.record() if node.repeat else None
        facts = [node.type, node.version, node.mode, list(node.each), node.on_error, repeat, inputs, named[id]]
        known[id] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return known


def _upstream(node: Node) -> set[str]:
    return {edge.node for value in node.inputs.values() for edge in edges_in(value)}


def _plain(value: Any, known: Mapping[str, str]) -> Any:
    if type(value) is Edge:
        return {"from": known.get(value.node, value.node), "output": value.output}
    return [_plain(item, known) for item in value] if type(value) is list else value
