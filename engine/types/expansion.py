"""A node that answers with more nodes: a sub-document that the executor runs in its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Expansion:
    """Returned by a node instead of its outputs.

    `nodes` has the form of a document's "nodes"; `outputs` names, for each output of the node, the edge
    {"node", "output"} among them that delivers it. Inputs are literals, edges among `nodes`, or `ctx.edge(...)`.
    """

    nodes: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, str]]
