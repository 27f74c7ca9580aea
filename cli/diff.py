"""`loom diff`: what distinguishes two workflows, by meaning."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentloom.api.client import Client
from latentloom.api.workflow_files import import_workflow, load_workflow
from latentloom.cli.errors import plain, print_json
from latentloom.cli.session import opened
from latentloom.cli.table import print_lines
from latentloom.engine.document.difference import Change, Difference, NodeChange, difference
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.types.registry import Registry

DIFFERENT = 1
MOST = 300  # characters of a value
_VERSION = re.compile(r"(?P<name>.+)@(?P<version>\d{1,12})\Z")


def diff(before: str, after: str, client: Client | None, *, as_json: bool) -> int:
    """Print what distinguishes two workflows. Return 0 if both make the same results, else 1. Raises LoomError."""
    with opened() as session:
        registry = session.engine.registry
        found = difference(_opened(before, client, registry), _opened(after, client, registry), registry)
    if as_json:
        print_json(found.record())
    else:
        print_lines([plain(line) for line in _lines(found)] or ["no difference"])
    return 0 if found.same_results else DIFFERENT


def _opened(name: str, client: Client | None, registry: Registry) -> Workflow:
    """Open a file or a shipped workflow; with a server, also a saved workflow by NAME or NAME@VERSION."""
    if client is None or Path(name).exists():
        return import_workflow(name, registry).workflow
    match = _VERSION.match(name)
    if match is None:
        return load_workflow(client.workflow(name).workflow)
    return load_workflow(client.workflow(match["name"], int(match["version"])).workflow)


def _lines(found: Difference) -> Iterable[str]:
    yield from (f"removed  {node} ({type})" for node, type in found.removed)
    yield from (f"added    {node} ({type})" for node, type in found.added)
    for node in found.changed:
        yield from _node_lines(node)
    yield from (f"input    {_change(item)}" for item in found.inputs)
    yield from (f"output   {_change(item)}" for item in found.outputs)
    yield from (f"renamed  {before} -> {after}" for before, after in found.renamed)
    if found.name is not None:
        yield f"name     {_text(found.name.before)} -> {_text(found.name.after)}"
    if found.layout:
        yield "layout   positions, notes or groups differ"


def _node_lines(node: NodeChange) -> Iterable[str]:
    yield from (f"changed  {node.node}.{_change(item)}" for item in node.inputs)
    yield from (f"changed  {node.node}, {_change(item)}" for item in node.properties)


def _change(change: Change) -> str:
    return f"{change.name}: {_text(change.before)} -> {_text(change.after)}"


def _text(value: Any) -> str:
    """Return a value as text; an edge or target as `node.output`."""
    if isinstance(value, dict) and set(value) in ({"node", "output"}, {"node", "input"}, {"node", "input", "item"}):
        return ".".join(str(part) for part in value.values())
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return ", ".join(_text(item) for item in value)
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."
