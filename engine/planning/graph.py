"""A workflow's nodes as a directed acyclic graph: what needs what, in which order, and where a cycle is."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import networkx as nx


class Graph:
    """Node ids with their dependencies. Immutable once made."""

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        """`needs` maps each id to the ids that it takes values from, which are among its keys."""
        self._graph: Any = nx.DiGraph()
        self._graph.add_nodes_from(needs)
        self._graph.add_edges_from((source, id) for id, sources in needs.items() for source in sources)

    def __len__(self) -> int:
        return len(self._graph)

    def cycle(self) -> list[str]:
        """The ids of one cycle, each needed by the next, or an empty list."""
        if nx.is_directed_acyclic_graph(self._graph):
            return []
        return [source for source, _ in nx.find_cycle(self._graph)]

    def order(self) -> list[str]:
        """Every id after all that it needs; ids that are free to move keep the document's order. Needs no cycle."""
        return list(nx.topological_sort(self._graph))

    def upstream(self, ids: Collection[str]) -> set[str]:
        """The ids and everything that they need, directly or not."""
        return _reach(ids, self._graph.predecessors)

    def downstream(self, ids: Collection[str]) -> set[str]:
        """The ids and everything that needs them, directly or not."""
        return _reach(ids, self._graph.successors)


def _reach(ids: Collection[str], step: Callable[[str], Iterable[str]]) -> set[str]:
    found, stack = set(ids), list(ids)
    while stack:
        for other in step(stack.pop()):
            if other not in found:
                found.add(other)
                stack.append(other)
    return found
