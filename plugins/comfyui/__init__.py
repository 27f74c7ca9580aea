"""Runs what ComfyUI saved: its workflows become ours, with a report of all that was changed or lost.

In: the bytes of a JSON file, a picture or a safetensors file that carries a graph in ComfyUI's API format or in that
of its editor.
Out: a workflow document and a report. What has no counterpart stays as a placeholder with all of its data.
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
        help="Reads the parameters that AUTOMATIC1111 and InvokeAI saved in pictures.",
    )
