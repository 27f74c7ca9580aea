"""The names of the model files in a workflow: what a worker must load for it."""

from pathlib import PurePosixPath
from typing import Any

from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import FILE_KINDS


def model_names(workflow: Workflow, registry: Registry) -> tuple[str, ...]:
    """Return the names of the model files in a resolved workflow, sorted, without folders and hashes.

    Nodes that do not run count, too: this is for estimates.
    """
    flat, found = flatten(workflow, registry), set[str]()
    for id, node in flat.nodes.items():
        type = flat.types[id]
        for port in () if type is None else type.spec.inputs:
            if port.kind in FILE_KINDS and port.kind != "FILE":
                found |= _names(node.inputs.get(port.name))
    return tuple(sorted(found))


def _names(value: Any) -> set[str]:
    values = value if isinstance(value, list) else [value]
    return {PurePosixPath(text.partition("@sha256:")[0]).name for text in values if isinstance(text, str) and text}
