"""A workflow's nodes as a directed graph: dependencies, topological order, and detection of cycles."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import networkx as nx


class Graph:
    """Node ids with their dependencies. Immutable."""

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        """`needs` maps each id to the ids that it depends on, all of which are keys of `needs`."""
        self._graph: Any = nx.DiGraph()
        self._graph.add_nodes_from(needs)
        self._graph.add_edges_from((source, id) for id, sources in needs.items() for source in sources)

    def __len__(self) -> int:
        return len(self._graph)

    def cycle(self) -> list[str]:
        """Return the ids of one cycle, each a dependency of the next; or an empty list."""
        if nx.is_directed_acyclic_graph(self._graph):
            return []
        return [source for source, _ in nx.find_cycle(self._graph)]

    def order(self) -> list[str]:
        """Return the ids in topological order; independent ids keep the document's order. The graph must be acyclic."""
        return list(nx.topological_sort(self._graph))

    def upstream(self, ids: Collection[str]) -> set[str]:
        """Return the ids and all ids that they depend on, directly or indirectly."""
        return _reach(ids, self._graph.predecessors)

    def downstream(self, ids: Collection[str]) -> set[str]:
        """Return the ids and all ids that depend on them, directly or indirectly."""
        return _reach(ids, self._graph.successors)


def _reach(ids: Collection[str], step: Callable[[str], Iterable[str]]) -> set[str]:
    found, stack = set(ids), list(ids)
    while stack:
        for other in step(stack.pop()):
            if other not in found:
                found.add(other)
                stack.append(other)
    return found
