"""Exports a workflow as a graph in ComfyUI's API format, with a report of everything that ComfyUI lacks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.workflow import Edge, Node, Workflow
from latentloom.engine.planning.modes import source_of
from latentloom.engine.types.registry import NodeType, Registry
from latentloom.plugins.comfyui.exporting_absent import SIZED, is_text, merged, passed_on, reason
from latentloom.plugins.comfyui.exporting_built import VALUES
from latentloom.plugins.comfyui.exporting_pictures import PICTURES
from latentloom.plugins.comfyui.exporting_prompts import PROMPTS
from latentloom.plugins.comfyui.exporting_writing import Built, Given, Writing, prefix
from latentloom.plugins.comfyui.importer import free_name
from latentloom.plugins.comfyui.report import Report

IMPLIED: Mapping[str, tuple[Any, ...]] = {  # inputs that ComfyUI lacks, and the values that it uses
    "resize": ("bilinear", "auto"), "by": ("time",), "posterior": ("mean",), "alpha": ("drop",), "crop_other": (True,),
    "fit": ("fill",), "fill": ("grey",), "curve": ("square",), "where": ("width",), "kind": ("plain",),
    "grammar": ("comfyui",), "noise_rule": ("comfyui",),
}  # fmt: skip


UNUSED = "-"  # an output of a class that the node has not
PLACEHOLDER = "comfyui/"  # what the types of placeholders begin with
NEEDLESS = frozenset({("LoadVAE", "model")})  # inputs of types that ComfyUI finds out by itself
RANDOM = "random"


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
    "ConditioningConcat": _class("ConditioningConcat", "to=conditioning_to extra=conditioning_from", "conditioning"),
    "ConditioningZeroOut": _class("ConditioningZeroOut", "conditioning", "conditioning"),
    "ConditioningArea": _class("ConditioningSetArea", "conditioning width height x y strength", "conditioning"),
    "ConditioningMask": _class(
        "ConditioningSetMask", "conditioning mask strength", "conditioning", set_cond_area="default"
    ),
    "EmbeddedGuidance": _class("FluxGuidance", "conditioning guidance", "conditioning"),
    "EmptyLatent": _class("EmptyLatentImage", "width height batch=batch_size", "latent"),
    "SetLatentMask": _class("SetLatentNoiseMask", "latent=samples mask", "latent"),
    "VAEDecode": _class("VAEDecode", "latent=samples vae", "image"),
    "VAEEncode": _class("VAEEncode", "image=pixels vae", "latent"),
    "LoadImage": _class("LoadImage", "image", "image mask"),
    "LoadMask": _class("LoadImageMask", "image channel", "mask"),
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
    "SeedNumber": _class("SeedNode", "seed", "value"),
    "Boolean": _class("PrimitiveBoolean", "value", "value"),
    "If": _class("ComfySwitchNode", "condition=switch then=on_true otherwise=on_false", "value"),
    "ReplaceText": _class("StringReplace", "text=string find replace", "value"),
    "TextLength": _class("StringLength", "text=string", "value"),
    "TextPart": _class("StringSubstring", "text=string start end", "value"),
    "JsonText": _class("JsonExtractString", "text=json_string key", "value"),
    "ShowText": _class("PreviewAny", "value=source", "text"),
    "LoadCLIPVision": _class("CLIPVisionLoader", "clip_vision=clip_name", "clip_vision"),
    "SaveCheckpoint": _class("CheckpointSave", "model clip vae name=filename_prefix"),
    "ReferenceLatent": _class("ReferenceLatent", "conditioning latent", "conditioning"),
    "ConditioningStrength": _class("ConditioningSetAreaStrength", "conditioning strength", "conditioning"),
    "ConditioningAreaShare": _class(
        "ConditioningSetAreaPercentage", "conditioning width height x y strength", "conditioning"
    ),
    "PerpendicularNegative": _class("PerpNeg", "model empty=empty_conditioning strength=neg_scale", "model"),
    "SelfAttentionGuidance": _class("SelfAttentionGuidance", "model scale blur=blur_sigma", "model"),
    "LatentCrop": _class("LatentCrop", "latent=samples width height x y", "latent"),
    "RepeatLatent": _class("RepeatLatentBatch", "latent=samples times=amount", "latent"),
    "PickLatents": _class("LatentFromBatch", "latents=samples first=batch_index count=length", "latent"),
    "VAEDecodeTiled": _class(
        "VAEDecodeTiled", "latent=samples vae tile=tile_size overlap", "image", temporal_size=64, temporal_overlap=8
    ),
    "VAEEncodeTiled": _class(
        "VAEEncodeTiled", "image=pixels vae tile=tile_size overlap", "latent", temporal_size=64, temporal_overlap=8
    ),
    "InpaintConditioning": _class(
        "InpaintModelConditioning", "positive negative vae image=pixels mask", "positive negative latent",
        noise_mask=True,
    ),
    "InpaintEncode": _class("VAEEncodeForInpaint", "image=pixels vae mask grow=grow_mask_by", "latent"),
    "InstructConditioning": _class(
        "InstructPixToPixConditioning", "positive negative vae image=pixels", "positive negative latent"
    ),
    "OutpaintPad": _class("ImagePadForOutpaint", "image left top right bottom feather=feathering", "image mask"),
    "PreviewMask": _class("MaskPreview", "mask"),
    "SolidMask": _class("SolidMask", "width height value", "mask"),
    "MaskCrop": _class("CropMask", "mask width height x y", "mask"),
    "MaskThreshold": _class("ThresholdMask", "mask threshold=value", "mask"),
    "MaskToImage": _class("MaskToImage", "mask", "image"),
    "ImageToMask": _class("ImageToMask", "image channel", "mask"),
    "MaskFadeBorders": _class("FeatherMask", "mask left top right bottom", "mask"),
    "ImageSize": _class("GetImageSize", "image", "width height count"),
    "ImageScaleToMegapixels": _class(
        "ImageScaleToTotalPixels", "image method=upscale_method megapixels multiple_of=resolution_steps", "image"
    ),
    "ImageBlend": _class("ImageBlend", "a=image1 b=image2 amount=blend_factor mode=blend_mode", "image"),
    "ImageCrop": _class("ImageCrop", "image width height x y", "image"),
    "ImageComposite": _class(
        "ImageCompositeMasked", "image=destination over=source x y mask", "image", resize_source=False
    ),
    "PickImages": _class("ImageFromBatch", "images=image first=batch_index count=length", "image"),
    "RepeatImage": _class("RepeatImageBatch", "image times=amount", "image"),
    "MaskFromAlpha": _class("SplitImageWithAlpha", "image", f"{UNUSED} mask"),
    "SplitAlpha": _class("SplitImageWithAlpha", "image", "image mask"),
    "JoinAlpha": _class("JoinImageWithAlpha", "image mask=alpha", "image"),
}  # fmt: skip


BUILT: dict[str, Built] = {**VALUES, **PICTURES, **PROMPTS}


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
        self._types = types
        self._report = report
        self._known: dict[Edge, Edge | None] = {}
        self._more: dict[str, dict[str, Any]] = {}  # nodes that are written beside those of the workflow
        self._merged = merged(nodes)
        self._passing = {id: kinds for id, node in nodes.items() if (kinds := self._passed(id, node, nodes))}
        self._nodes = {id: replace(node, mode="bypass") if id in self._passing else node for id, node in nodes.items()}

    def _passed(self, id: str, node: Node, nodes: Mapping[str, Node]) -> tuple[str, ...]:
        """Return the kinds that go on unchanged where a node is left out."""
        given = node.inputs.get("conditioning")
        unsized = node.type == SIZED and given is not None and not is_text(given, nodes)
        known = node.type in CLASSES or node.type in BUILT or node.type.startswith(PLACEHOLDER)
        spec = self._types[id]
        if node.mode != "active" or id in self._merged or (known and not unsized) or spec is None:
            return ()
        return passed_on(spec.spec)

    def graph(self) -> dict[str, Any]:
        """Return all nodes that run and have a counterpart in ComfyUI."""
        made = {id: self._node(id, node) for id, node in self._nodes.items()}
        found = {id: _titled(one, self._nodes[id].title) for id, one in made.items() if one is not None}
        return {**found, **self._more}

    def _node(self, id: str, node: Node) -> dict[str, Any] | None:
        if id in self._merged:
            return None
        if id in self._passing:
            kinds = " and ".join(self._passing[id])
            self._report.note(id, "lost", f"{reason(node.type)}; its {kinds} goes on unchanged")
            return None
        if node.mode != "active":
            self._report.note(id, "lost", "it does not run, and is left out")
            return None
        if node.type.startswith(PLACEHOLDER):
            return self._placeholder(id, node)
        found = CLASSES.get(node.type)
        if found is None:
            return self._built(id, node)
        defaults, given = self._defaults(id), self._given(id, node)
        inputs = {theirs: self._value(id, given[ours]) for ours, theirs in found.inputs.items() if ours in given}
        make, made = MADE.get(node.type, (None, frozenset[str]()))
        self._tell(id, node, {*found.inputs, *made}, defaults)
        usual = {theirs: defaults.get(ours) for ours, theirs in found.inputs.items()}  # counts where a link is lost
        whole = {**_present(usual), **_present(inputs), **found.fixed, **(make(given) if make else {})}
        return {"class_type": found.name, "inputs": self._finished(id, node.type, whole, given)}

    def _defaults(self, id: str) -> dict[str, Any]:
        spec = self._types[id]
        return {port.name: port.default for port in spec.spec.inputs if not port.required} if spec else {}

    def _given(self, id: str, node: Node) -> dict[str, Any]:
        """Return the inputs with defaults. A random seed is 0: graphs of ComfyUI's hold numbers."""
        given = {**self._defaults(id), **node.inputs}
        for name, value in given.items():
            if value == RANDOM and name.endswith("seed"):
                self._report.note(id, "changed", f"'{name}' is random here, and 0 there")
        return {name: 0 if value == RANDOM and name.endswith("seed") else value for name, value in given.items()}

    def _placeholder(self, id: str, node: Node) -> dict[str, Any]:
        """Return a class without a counterpart here as it was in ComfyUI's file, with the links of today."""
        raw = node.extra.get("comfyui") if isinstance(node.extra, dict) else None
        kept = raw.get("inputs") if isinstance(raw, dict) else None
        literals = {n: v for n, v in kept.items() if type(v) is not list} if isinstance(kept, dict) else {}
        given = {name: self._value(id, value) for name, value in node.inputs.items()}
        inputs = {**literals, **{name: value for name, value in given.items() if value is not None}}
        return {"class_type": node.type.removeprefix(PLACEHOLDER), "inputs": inputs}

    def _built(self, id: str, node: Node) -> dict[str, Any] | None:
        built = BUILT.get(node.type)
        if built is None:
            self._report.note(id, "lost", reason(node.type))
            return None
        self._tell(id, node, set(built.reads), self._defaults(id))
        name, inputs = built.build(self._writing(id, node, built.reads))
        return {"class_type": name, "inputs": {theirs: value for theirs, value in inputs.items() if value is not None}}

    def _writing(self, id: str, node: Node, reads: Iterable[str]) -> Writing:
        return Writing(
            {**dict.fromkeys(reads), **self._given(id, node)},
            self._defaults(id),
            partial(self._value, id),
            partial(self._added, id),
            partial(self._report.note, id),
            self._above,
        )

    def _above(self, value: Any) -> tuple[str, Writing] | None:
        source = source_of(value, self._nodes, self._types, self._known) if type(value) is Edge else None
        node = self._nodes.get(source.node) if source is not None else None
        if source is None or node is None:
            return None
        built = BUILT.get(node.type)
        if source.node in self._merged and built is not None:
            self._tell(source.node, node, set(built.reads), self._defaults(source.node))
        return node.type, self._writing(source.node, node, built.reads if built else ())

    def _added(self, id: str, suffix: str, type: str, inputs: dict[str, Any]) -> list[Any]:
        """Write a further node, and return the link to its first output."""
        name = free_name(f"{id}-{suffix}", {*self._nodes, *self._more})
        self._more[name] = {"class_type": type, "inputs": inputs}
        return [name, 0]

    def _finished(self, id: str, type: str, inputs: dict[str, Any], given: Given) -> dict[str, Any]:
        """Return the inputs, converted if ComfyUI needs more than another name."""
        if type == "SaveCheckpoint":
            return {**inputs, "filename_prefix": prefix(given["name"], partial(self._report.note, id))}
        return inputs

    def _tell(self, id: str, node: Node, known: set[str], defaults: Given) -> None:
        """Report inputs without a counterpart, and differences in ComfyUI's behaviour."""
        if node.each or node.repeat is not None:
            self._report.note(id, "lost", "it runs once there, and not item by item or turn by turn")
        left = {name: value for name, value in {**defaults, **node.inputs}.items() if name not in known}
        for name, value in left.items():
            if name in IMPLIED:
                if value not in IMPLIED[name]:
                    self._report.note(id, "changed", f"ComfyUI acts as with {name} '{IMPLIED[name][0]}', not '{value}'")
            elif name in node.inputs and value != defaults.get(name) and (node.type, name) not in NEEDLESS:
                self._report.note(id, "lost", f"'{name}' has no counterpart there")

    def _value(self, id: str, value: Any) -> Any:
        if type(value) is not Edge:
            return {"__value__": value} if type(value) is list else value
        source = source_of(value, self._nodes, self._types, self._known)
        node = self._nodes.get(source.node) if source is not None else None
        slot = _slot(node.type, source.output) if node is not None and source is not None else None
        if source is None or slot is None:
            self._report.note(id, "lost", f"the link from '{value.node}' leads to no class of ComfyUI's")
            return None
        return [source.node, slot]


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _slot(type: str, output: str) -> int | None:
    """Return the place of an output in ComfyUI's class; None if there is none."""
    if type.startswith(PLACEHOLDER):
        number = output.removeprefix("output-")
        return int(number) if number.isdecimal() and len(number) < 4 else None
    found = CLASSES.get(type) or BUILT.get(type)
    return found.outputs.index(output) if found is not None and output in found.outputs else None


def _titled(node: dict[str, Any], title: str | None) -> dict[str, Any]:
    return {**node, "_meta": {"title": title}} if title else node
