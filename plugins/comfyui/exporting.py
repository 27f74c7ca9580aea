"""Exports a workflow as a graph in ComfyUI's API format, with a report of everything that ComfyUI lacks."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.workflow import Edge, Node, Workflow
from latentloom.engine.planning.modes import source_of
from latentloom.engine.types.registry import NodeType, Registry
from latentloom.plugins.comfyui.report import Report

IMPLIED: Mapping[str, tuple[Any, ...]] = {  # inputs that ComfyUI lacks, and the values that it uses
    "resize": ("bilinear", "auto"), "by": ("time",), "posterior": ("mean",), "alpha": ("drop",), "crop_other": (True,),
    "fit": ("fill",), "kind": ("plain",), "grammar": ("comfyui",), "noise_rule": ("comfyui",),
}  # fmt: skip


_FIELD = re.compile(r"[-_ ]?\{(\w{1,40})\}")


class Class(NamedTuple):
    """A ComfyUI class: its input names by ours, our outputs in its order, and its further inputs."""

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = {}


def _class(name: str, inputs: str, outputs: str = "", **fixed: Any) -> Class:
    """Create a Class. Inputs are written `ours=theirs`, or as one word if both names are equal."""
    pairs = (word.partition("=") for word in inputs.split())
    return Class(name, {ours: theirs or ours for ours, _, theirs in pairs}, tuple(outputs.split()), fixed)


_SAMPLED = "model positive negative latent=latent_image steps cfg sampler=sampler_name schedule=scheduler"
CLASSES: dict[str, Class] = {
    "LoadCheckpoint": _class("CheckpointLoaderSimple", "checkpoint=ckpt_name", "model clip vae"),
    "LoadUNet": _class("UNETLoader", "unet=unet_name", "model", weight_dtype="default"),
    "LoadVAE": _class("VAELoader", "vae=vae_name", "vae"),
    "LoadLora": _class(
        "LoraLoader",
        "model clip lora=lora_name model_strength=strength_model clip_strength=strength_clip",
        "model clip",
    ),
    "LoadLoraModel": _class("LoraLoaderModelOnly", "model lora=lora_name strength=strength_model", "model"),
    "LoadControlNet": _class("ControlNetLoader", "controlnet=control_net_name", "controlnet"),
    "ApplyControlNet": _class(
        "ControlNetApplyAdvanced",
        "positive negative controlnet=control_net image strength start=start_percent end=end_percent vae",
        "positive negative",
    ),
    "CLIPEncode": _class("CLIPTextEncode", "clip text", "conditioning"),
    "ConditioningConcat": _class("ConditioningConcat", "to=conditioning_to extra=conditioning_from", "conditioning"),
    "ConditioningZeroOut": _class("ConditioningZeroOut", "conditioning", "conditioning"),
    "ConditioningArea": _class("ConditioningSetArea", "conditioning width height x y strength", "conditioning"),
    "ConditioningMask": _class(
        "ConditioningSetMask", "conditioning mask strength", "conditioning", set_cond_area="default"
    ),
    "EmbeddedGuidance": _class("FluxGuidance", "conditioning guidance", "conditioning"),
    "EmptyLatent": _class("EmptyLatentImage", "width height batch=batch_size", "latent"),
    "SetLatentMask": _class("SetLatentNoiseMask", "latent=samples mask", "latent"),
    "KSampler": _class("KSampler", f"{_SAMPLED} seed denoise", "latent"),
    "VAEDecode": _class("VAEDecode", "latent=samples vae", "image"),
    "VAEEncode": _class("VAEEncode", "image=pixels vae", "latent"),
    "LoadImage": _class("LoadImage", "image", "image mask"),
    "LoadMask": _class("LoadImageMask", "image channel", "mask"),
    "SaveImage": _class("SaveImage", "images name=filename_prefix"),
    "PreviewImage": _class("PreviewImage", "images"),
    "InvertImage": _class("ImageInvert", "image", "image"),
    "InvertMask": _class("InvertMask", "mask", "mask"),
    "CFGRescale": _class("RescaleCFG", "model amount=multiplier", "model"),
    "PerturbedAttention": _class("PerturbedAttentionGuidance", "model scale", "model"),
    "DifferentialDiffusion": _class("DifferentialDiffusion", "model", "model"),
    "SetShift": _class("ModelSamplingSD3", "model shift", "model"),
    "Integer": _class("PrimitiveInt", "value", "value"),
    "Float": _class("PrimitiveFloat", "value", "value"),
    "Text": _class("PrimitiveStringMultiline", "text=value", "value"),
}
Given = Mapping[str, Any]


def _advanced(given: Given) -> dict[str, Any]:
    words = {True: "enable", False: "disable"}
    return {
        "add_noise": words[given.get("add_noise", True) is True],
        "return_with_leftover_noise": words[given.get("leftover_noise", False) is True],
    }


CLASSES["KSamplerAdvanced"] = _class(
    "KSamplerAdvanced", f"{_SAMPLED} seed=noise_seed start_step=start_at_step end_step=end_at_step", "latent"
)
MADE: dict[str, tuple[Callable[[Given], dict[str, Any]], frozenset[str]]] = {
    "KSamplerAdvanced": (_advanced, frozenset({"add_noise", "leftover_noise"})),
}


def export(workflow: Workflow, registry: Registry) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the graph of a workflow, and the report. Sub-workflows are flattened."""
    report, flat = Report("Latentloom"), flatten(workflow, registry)
    for problem in flat.problems:
        report.note(problem.node or "", "lost", problem.message)
    return _Exporter(flat.nodes, flat.types, report).graph(), report.record()


class _Exporter:
    def __init__(self, nodes: Mapping[str, Node], types: Mapping[str, NodeType | None], report: Report) -> None:
        self._nodes = nodes
        self._types = types
        self._report = report
        self._known: dict[Edge, Edge | None] = {}
        self._skips: dict[str, dict[str, Any]] = {}

    def graph(self) -> dict[str, Any]:
        """Return all nodes that run and have a counterpart in ComfyUI."""
        found = {id: made for id, node in self._nodes.items() if (made := self._node(id, node)) is not None}
        return {**found, **self._skips}

    def _node(self, id: str, node: Node) -> dict[str, Any] | None:
        if node.mode != "active":
            self._report.note(id, "lost", "it does not run, and is left out")
            return None
        found = CLASSES.get(node.type)
        if found is None:
            self._report.note(id, "lost", f"ComfyUI has no counterpart of {node.type} that is known here")
            return None
        spec = self._types[id]
        defaults = {port.name: port.default for port in spec.spec.inputs if not port.required} if spec else {}
        given = {**defaults, **node.inputs}
        inputs = {theirs: self._value(id, given[ours]) for ours, theirs in found.inputs.items() if ours in given}
        make, made = MADE.get(node.type, (None, frozenset[str]()))
        self._tell(id, node, {*found.inputs, *made, "clip_skip"}, defaults)
        kept = {name: value for name, value in inputs.items() if value is not None}
        whole = {**kept, **found.fixed, **(make(given) if make else {})}
        return {"class_type": found.name, "inputs": self._finished(id, node.type, whole, given)}

    def _finished(self, id: str, type: str, inputs: dict[str, Any], given: Given) -> dict[str, Any]:
        """Return the inputs, converted if ComfyUI needs more than another name."""
        if type == "SaveImage":
            return {**inputs, "filename_prefix": self._prefix(id, str(given["name"]))}
        if type == "CLIPEncode" and given.get("clip_skip", 1) != 1:
            skip = f"{id}-skip"
            layer = {"clip": inputs.get("clip"), "stop_at_clip_layer": -given["clip_skip"]}
            self._skips[skip] = {"class_type": "CLIPSetLastLayer", "inputs": layer}
            return {**inputs, "clip": [skip, 0]}
        return inputs

    def _prefix(self, id: str, name: str) -> str:
        """Return the prefix of a name template without its fields. ComfyUI adds its own counter."""
        left = sorted(set(_FIELD.findall(name)) - {"counter"})
        if left:
            self._report.note(id, "lost", f"the parts of the name that are filled in: {', '.join(left)}")
        return _FIELD.sub("", name) or "Latentloom"

    def _tell(self, id: str, node: Node, known: set[str], defaults: Given) -> None:
        """Report inputs without a counterpart, and differences in ComfyUI's behaviour."""
        for name, value in {**defaults, **node.inputs}.items():
            if name in IMPLIED and name not in known:
                if value not in IMPLIED[name]:
                    self._report.note(id, "changed", f"ComfyUI acts as with {name} '{IMPLIED[name][0]}', not '{value}'")
            elif name not in known and name in node.inputs and value != defaults.get(name):
                self._report.note(id, "lost", f"'{name}' has no counterpart there")

    def _value(self, id: str, value: Any) -> Any:
        if type(value) is not Edge:
            return {"__value__": value} if type(value) is list else value
        source = source_of(value, self._nodes, self._types, self._known)
        node = self._nodes.get(source.node) if source is not None else None
        found = CLASSES.get(node.type) if node is not None else None
        if source is None or found is None or source.output not in found.outputs:
            self._report.note(id, "lost", f"the link from '{value.node}' leads to no class of ComfyUI's")
            return None
        return [source.node, found.outputs.index(source.output)]
