"""What node types without a counterpart in ComfyUI become, and why they have none."""

from collections.abc import Mapping
from typing import Any

from latentloom.engine.document.workflow import Edge, Node, edges_in
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import NodeSpec
from latentloom.plugins.comfyui.exporting_prompts import TEXTS

Nodes = Mapping[str, Node]
Types = Mapping[str, NodeType | None]
PATCHED = frozenset({"MODEL", "CLIP", "VAE", "CONDITIONING"})
"""The kinds that go on unchanged where a node that changes them is left out."""
SIZED = "ConditioningSize"
MERGED = {**dict.fromkeys(TEXTS, SIZED), "TwoPromptGuidance": "SampleCustom"}
"""Types that are written as a part of the node that uses them."""
_STEPS = "ComfyUI's samplers do not give the latents of single steps"
_CROP = "ComfyUI's core does not crop by a mask: the pack ComfyUI-Inpaint-CropAndStitch does"
_DATA = "images are not trained on in a graph there"
REASONS: Mapping[str, str] = {
    "KSamplerSteps": _STEPS, "ForwardNoise": _STEPS,
    "InpaintCrop": _CROP, "InpaintStitch": _CROP,
    "Detailer": "ComfyUI's core has no detailer: the pack ComfyUI-Impact-Pack has",
    "IPAdapter": "ComfyUI's core has no IP-Adapter: the pack ComfyUI_IPAdapter_plus has",
    "PlotSchedules": "ComfyUI draws no plots", "TokenTable": "ComfyUI shows no tokens",
    "LatentChannels": "ComfyUI shows no channels of a latent",
    "PromptToPrompt": "ComfyUI does not edit attention between two prompts",
    "TwoPromptGuidance": "ComfyUI guides by two prompts only in its custom sampler: use SampleCustom",
    "ComparePictures": "ComfyUI's core does not measure pictures",
    SIZED: "ComfyUI gives the sizes together with a text",
    **dict.fromkeys(("LoadDataset", "ImagesToDataset", "AugmentDataset", "JoinDatasets", "SplitDataset",
                     "DatasetSheet", "TrainLora", "SaveLora", "ApplyLora"), _DATA),
}  # fmt: skip


def reason(type: str) -> str:
    """Return why a type has no counterpart."""
    if type.startswith("graph/"):
        return "it repeats a sub-workflow, which a graph of ComfyUI's cannot"
    return REASONS.get(type, f"ComfyUI has no counterpart of {type} that is known here")


def is_text(value: Any, nodes: Nodes) -> bool:
    """Whether a value comes from a text to which ComfyUI gives sizes in one class."""
    source = nodes.get(value.node) if type(value) is Edge else None
    return source is not None and source.type in TEXTS and source.mode == "active"


def merged(nodes: Nodes) -> frozenset[str]:
    """Return the nodes that are written as a part of those that use them, if nothing else does."""
    users: dict[str, set[str]] = {}
    for node in nodes.values():
        for value in node.inputs.values():
            for edge in edges_in(value):
                users.setdefault(edge.node, set()).add(node.type if node.mode == "active" else "")
    return frozenset(id for id, by in users.items() if id in nodes and by == {MERGED.get(nodes[id].type)})


def passed_on(spec: NodeSpec) -> tuple[str, ...]:
    """Return the kinds that a node without a counterpart passes on: those that it takes and gives once."""
    takes, gives = ([port.kind for port in ports if not port.is_list] for ports in (spec.inputs, spec.outputs))
    return tuple(kind for kind in dict.fromkeys(gives) if kind in PATCHED & set(takes) and gives.count(kind) == 1)
