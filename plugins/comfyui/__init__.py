"""Imports ComfyUI workflows, with a report of everything that was changed or lost.

Input: the bytes of a JSON file, a picture or a safetensors file with a graph in ComfyUI's API format or its editor's
format.
Output: a workflow document and a report. A node without a counterpart becomes a placeholder with all its data.
"""

from latentloom.engine.types.registry import Registration
from latentloom.plugins import hookimpl


@hookimpl
def register(registry: Registration) -> None:
    """Register the importers."""
    registry.importer(
        "comfyui", "latentloom.plugins.comfyui.importing:import_file", help="Reads graphs that ComfyUI saved."
    )
    registry.importer(
        "parameters",
        "latentloom.plugins.comfyui.parameters:import_picture",
        help="Reads the parameters that AUTOMATIC1111 and InvokeAI saved in images.",
    )
