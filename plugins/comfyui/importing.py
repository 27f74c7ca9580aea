"""Converts the bytes of a ComfyUI file to a workflow document and a report."""

from collections.abc import Mapping
from typing import Any

from latentloom.plugins.comfyui.carriers import graphs_in
from latentloom.plugins.comfyui.classes import FOLDED, RULES
from latentloom.plugins.comfyui.graph import is_api_format, is_ui_format, read_graph
from latentloom.plugins.comfyui.importer import Importer
from latentloom.plugins.comfyui.keeping import keep_subgraphs, kept_scopes
from latentloom.plugins.comfyui.layout import layouts_of
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.ui_format import read_ui


def import_file(data: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the workflow document of a ComfyUI file and the report; None for any other file.

    Raises WorkflowError for a ComfyUI file that cannot be read.
    """
    found = graphs_in(data)
    graph = next((found[name] for name in ("prompt", "file") if is_api_format(found.get(name))), None)
    if graph is not None:
        return import_graph(graph)
    drawn = next((found[name] for name in ("workflow", "file") if is_ui_format(found.get(name))), None)
    return None if drawn is None else import_ui(drawn)


def import_graph(graph: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the workflow document of a graph in the API format, and the report. Raises WorkflowError."""
    report = Report("ComfyUI, API format")
    return Importer(read_graph(graph, report), report).document(), report.record()


def import_ui(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the workflow document of a graph in the editor's format, and the report. Raises WorkflowError."""
    report = Report("ComfyUI, editor's format")
    drawn = read_ui(data, {*RULES, *FOLDED}, report)
    importer = Importer(drawn.nodes, report)
    document = importer.document()
    form = importer.form(drawn.form)
    document |= {"inputs": form} if form else {}
    kept = kept_scopes(drawn.root, importer, report)
    layouts = layouts_of(drawn.root, drawn.nodes, kept, report)
    if kept:
        document = keep_subgraphs(document, importer, drawn.root, layouts, report)
    else:
        document["layout"] = layouts[""].record(importer.ids)
    return document, report.record()
