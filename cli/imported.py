"""`loom import` and `loom export`. Also opens other programs' workflows for all commands that take a workflow."""

import json
import sys
from pathlib import Path
from typing import Any

from latentloom.api.workflow_files import import_workflow
from latentloom.cli.errors import say
from latentloom.cli.session import opened
from latentloom.engine.document.interfaces import registered
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.document.writing import write
from latentloom.engine.errors import FileError
from latentloom.engine.types.registry import Registry


def opened_workflow(name: str, registry: Registry) -> Workflow:
    """Open a workflow by name or file. For an imported one, print the length of its report on stderr."""
    found = import_workflow(name, registry)
    lines = _lines(found.report)
    if lines:
        remarks = f"{len(lines)} remark{'s' * (len(lines) != 1)}"
        say(f"imported from {found.report['source']} and changed: `loom import {name}` lists {remarks}")
    return found.workflow


def import_file(file: Path, out: Path | None) -> int:
    """Write the imported workflow to a file or stdout, and the report to stderr. Raises LoomError."""
    with opened() as session:
        registry = session.engine.registry
        found = import_workflow(file, registry)
        text = write(found.workflow, registered(registry))
    for line in _lines(found.report):
        say(line)
    if out is None:
        sys.stdout.write(text)
    else:
        _write(out, text)
    return 0


def export_file(name: str, out: Path | None) -> int:
    """Write a workflow as a ComfyUI graph to a file or stdout, and the report to stderr. Raises LoomError."""
    from latentloom.plugins.comfyui.exporting import export

    with opened() as session:
        registry = session.engine.registry
        graph, report = export(import_workflow(name, registry).workflow, registry)
    for line in _lines(report):
        say(line)
    text = json.dumps(graph, ensure_ascii=False, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        _write(out, text)
    return 0


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FileError(
            f"'{out}' cannot be written", got=error.strerror, hint="name a file that is not there"
        ) from None


def _lines(report: Any) -> list[str]:
    return list(report["lines"]) if isinstance(report, dict) else []
