"""Each class with a counterpart, used as ComfyUI writes it: what it becomes passes validation, with all its inputs."""

from collections.abc import Iterator
from typing import Any

import pytest

from latentloom.api import Session
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.schedules import scaled_linear_table
from latentloom.plugins.comfyui.classes import FOLDED, RULES
from latentloom.plugins.comfyui.importing import import_graph
from latentloom.plugins.discovery import discover

M, C, V, P, L, PIC, K = (["c", 0], ["c", 1], ["c", 2], ["p", 0], ["l", 0], ["i", 0], ["i", 1])


def node(type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": type, "inputs": inputs}


SOURCES = {
    "c": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
    "p": node("CLIPTextEncode", clip=C, text="x"),
    "l": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "i": node("LoadImage", image="a.png"),
    "cn": node("ControlNetLoader", control_net_name="a.safetensors"),
    "up": node("UpscaleModelLoader", model_name="a.pth"),
    "ks": node("KSamplerSelect", sampler_name="euler"),
    "bs": node("BasicScheduler", model=M, scheduler="karras", steps=4, denoise=1.0),
    "rn": node("RandomNoise", noise_seed=3),
    "bg": node("BasicGuider", model=M, conditioning=P),
    "sub": node("ModelMergeSubtract", model1=M, model2=M, multiplier=1.0),
    "csub": node("CLIPMergeSubtract", clip1=C, clip2=C, multiplier=1.0),
    "t": node("PrimitiveString", value="x"),
    "b": node("PrimitiveBoolean", value=True),
}
SIZE = {"width": 64, "height": 64}
SAMPLED = {"model": M, "positive": P, "negative": P, "latent_image": L, "steps": 4, "cfg": 7.0}
SAMPLED |= {"sampler_name": "euler", "scheduler": "normal"}
PIECES = {"sampler": ["ks", 0], "sigmas": ["bs", 0], "latent_image": L}
FREEU = {"model": M, "b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
AT = {"x": 8, "y": 8}

USES: dict[str, dict[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": "a.safetensors"},
    "CheckpointLoader": {"ckpt_name": "a.safetensors", "config_name": "v1.yaml"},
    "LoraLoader": {"model": M, "clip": C, "lora_name": "a", "strength_model": 1.0, "strength_clip": 1.0},
    "LoraLoaderModelOnly": {"model": M, "lora_name": "a", "strength_model": 1.0},
    "VAELoader": {"vae_name": "a"},
    "ControlNetLoader": {"control_net_name": "a"},
    "DiffControlNetLoader": {"model": M, "control_net_name": "a"},
    "CLIPVisionLoader": {"clip_name": "a"},
    "UNETLoader": {"unet_name": "a", "weight_dtype": "default"},
    "CLIPLoader": {"clip_name": "a", "type": "lumina2", "device": "default"},
    "DualCLIPLoader": {"clip_name1": "a", "clip_name2": "b", "type": "flux"},
    "CheckpointSave": {"model": M, "clip": C, "vae": V, "filename_prefix": "checkpoints/mixed"},
    "ReferenceLatent": {"conditioning": P, "latent": L},
    "TripleCLIPLoader": {"clip_name1": "a", "clip_name2": "b", "clip_name3": "c"},
    "Reroute": {"": M},
    "ModelSamplingDiscrete": {"model": M, "sampling": "v_prediction", "zsnr": True},
    "ModelSamplingAuraFlow": {"model": M, "shift": 3.0},
    "ModelSamplingSD3": {"model": M, "shift": 3.0},
    "ModelSamplingFlux": {"model": M, "max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024},
    "PatchModelAddDownscale": {
        "model": M, "block_number": 3, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 0.35,
        "downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic",
    },
    "FluxGuidance": {"conditioning": P, "guidance": 3.5},
    "ModelMergeSimple": {"model1": M, "model2": M, "ratio": 0.25},
    "ModelMergeBlocks": {"model1": M, "model2": M, "input": 1.0, "middle": 0.5, "out": 0.25},
    "ModelMergeAdd": {"model1": M, "model2": ["sub", 0]},
    "CLIPMergeSimple": {"clip1": C, "clip2": C, "ratio": 0.25},
    "CLIPMergeAdd": {"clip1": C, "clip2": ["csub", 0]},
    "ControlNetApplyAdvanced": {
        "positive": P, "negative": P, "control_net": ["cn", 0], "image": PIC, "strength": 1.0, "start_percent": 0.0,
        "end_percent": 1.0,
    },
    "ControlNetApplySD3": {
        "positive": P, "negative": P, "control_net": ["cn", 0], "vae": V, "image": PIC, "strength": 1.0,
        "start_percent": 0.0, "end_percent": 1.0,
    },
    "ControlNetInpaintingAliMamaApply": {
        "positive": P, "negative": P, "control_net": ["cn", 0], "vae": V, "image": PIC, "mask": K, "strength": 1.0,
        "start_percent": 0.0, "end_percent": 1.0,
    },
    "ControlNetApply": {"conditioning": P, "control_net": ["cn", 0], "image": PIC, "strength": 1.0},
    "RescaleCFG": {"model": M, "multiplier": 0.7},
    "PerturbedAttentionGuidance": {"model": M, "scale": 3.0},
    "SelfAttentionGuidance": {"model": M, "scale": 0.5, "blur_sigma": 2.0},
    "PerpNeg": {"model": M, "empty_conditioning": P, "neg_scale": 1.0},
    "DifferentialDiffusion": {"model": M, "strength": 1.0},
    "FreeU": FREEU,
    "FreeU_V2": FREEU,
    "CLIPTextEncode": {"clip": C, "text": "x"},
    "CLIPTextEncodeSDXL": {
        "clip": C, **SIZE, "crop_w": 0, "crop_h": 0, "target_width": 64, "target_height": 64, "text_g": "x",
        "text_l": "y",
    },
    "CLIPTextEncodeSDXLRefiner": {"clip": C, "ascore": 6.0, **SIZE, "text": "x"},
    "CLIPSetLastLayer": {"clip": C, "stop_at_clip_layer": -2},
    "ConditioningCombine": {"conditioning_1": P, "conditioning_2": P},
    "ConditioningConcat": {"conditioning_to": P, "conditioning_from": P},
    "ConditioningAverage": {"conditioning_to": P, "conditioning_from": P, "conditioning_to_strength": 0.5},
    "ConditioningZeroOut": {"conditioning": P},
    "ConditioningSetArea": {"conditioning": P, **SIZE, **AT, "strength": 1.0},
    "ConditioningSetAreaStrength": {"conditioning": P, "strength": 0.5},
    "ConditioningSetMask": {"conditioning": P, "mask": K, "strength": 1.0, "set_cond_area": "default"},
    "ConditioningSetTimestepRange": {"conditioning": P, "start": 0.0, "end": 0.5},
    "InpaintModelConditioning": {
        "positive": P, "negative": P, "vae": V, "pixels": PIC, "mask": K, "noise_mask": True,
    },
    "InstructPixToPixConditioning": {"positive": P, "negative": P, "vae": V, "pixels": PIC},
    "KSampler": {**SAMPLED, "seed": 1, "denoise": 1.0},
    "KSamplerAdvanced": {
        **SAMPLED, "noise_seed": 1, "start_at_step": 0, "end_at_step": 99999, "add_noise": "enable",
        "return_with_leftover_noise": "disable",
    },
    "SamplerCustom": {
        "model": M, "positive": P, "negative": P, "cfg": 7.0, "add_noise": True, "noise_seed": 1, **PIECES,
    },
    "SamplerCustomAdvanced": {"noise": ["rn", 0], "guider": ["bg", 0], **PIECES},
    "BasicScheduler": {"model": M, "scheduler": "normal", "steps": 4, "denoise": 1.0},
    "SplitSigmas": {"sigmas": ["bs", 0], "step": 2},
    "KarrasScheduler": {"steps": 3, "sigma_max": 14.6, "sigma_min": 0.03, "rho": 7.0},
    "ExponentialScheduler": {"steps": 3, "sigma_max": 14.6, "sigma_min": 0.03},
    "SDTurboScheduler": {"model": M, "steps": 2, "denoise": 1.0},
    "AlignYourStepsScheduler": {"model_type": "SD1", "steps": 10, "denoise": 1.0},
    "ManualSigmas": {"sigmas": "2, 1, 0.0"},
    "EmptyLatentImage": {**SIZE, "batch_size": 1},
    "EmptySD3LatentImage": {**SIZE, "batch_size": 1},
    "LatentUpscale": {"samples": L, "upscale_method": "nearest-exact", **SIZE, "crop": "disabled"},
    "LatentUpscaleBy": {"samples": L, "upscale_method": "bilinear", "scale_by": 1.5},
    "LatentBlend": {"samples1": L, "samples2": L, "blend_factor": 0.25},
    "LatentInterpolate": {"samples1": L, "samples2": L, "ratio": 0.25},
    "LatentComposite": {"samples_to": L, "samples_from": L, **AT, "feather": 8},
    "LatentCompositeMasked": {"destination": L, "source": L, **AT, "resize_source": False, "mask": K},
    "LatentCrop": {"samples": L, **SIZE, **AT},
    "RepeatLatentBatch": {"samples": L, "amount": 2},
    "LatentFromBatch": {"samples": L, "batch_index": 0, "length": 1},
    "SetLatentNoiseMask": {"samples": L, "mask": K},
    "VAEDecode": {"samples": L, "vae": V},
    "VAEEncode": {"pixels": PIC, "vae": V},
    "VAEDecodeTiled": {"samples": L, "vae": V, "tile_size": 512, "overlap": 64, "temporal_size": 64},
    "VAEEncodeTiled": {"pixels": PIC, "vae": V, "tile_size": 512},
    "VAEEncodeForInpaint": {"pixels": PIC, "vae": V, "mask": K, "grow_mask_by": 6},
    "LoadImage": {"image": "a.png", "upload": "image"},
    "LoadImageMask": {"image": "a.png", "channel": "red"},
    "SaveImage": {"images": PIC, "filename_prefix": "x"},
    "SaveLatent": {"samples": L, "filename_prefix": "x"},
    "PreviewImage": {"images": PIC},
    "MaskPreview": {"mask": K},
    "ImageCompare": {"image_a": PIC, "image_b": PIC},
    "ImageScale": {"image": PIC, "upscale_method": "lanczos", **SIZE, "crop": "center"},
    "ImageScaleBy": {"image": PIC, "upscale_method": "lanczos", "scale_by": 2.0},
    "ImageScaleToTotalPixels": {
        "image": PIC, "upscale_method": "lanczos", "megapixels": 1.0, "resolution_steps": 1,
    },
    "ImageScaleToMaxDimension": {"image": PIC, "upscale_method": "lanczos", "largest_size": 512},
    "ResizeImageMaskNode": {
        "input": PIC, "resize_type": "scale longer dimension", "resize_type.longer_size": 512, "scale_method": "area",
    },
    "GetImageSize": {"image": PIC},
    "ImageUpscaleWithModel": {"upscale_model": ["up", 0], "image": PIC},
    "ImageInvert": {"image": PIC},
    "ImageBlur": {"image": PIC, "blur_radius": 3, "sigma": 0.5},
    "ImageSharpen": {"image": PIC, "sharpen_radius": 1, "sigma": 1.0, "alpha": 0.5},
    "ImageBlend": {"image1": PIC, "image2": PIC, "blend_factor": 0.5, "blend_mode": "screen"},
    "Canny": {"image": PIC, "low_threshold": 0.4, "high_threshold": 0.8},
    "ImageCrop": {"image": PIC, **SIZE, **AT},
    "ImageBatch": {"image1": PIC, "image2": PIC},
    "ImageCompositeMasked": {"destination": PIC, "source": PIC, **AT, "resize_source": True, "mask": K},
    "RepeatImageBatch": {"image": PIC, "amount": 2},
    "ImageFromBatch": {"image": PIC, "batch_index": 0, "length": 1},
    "EmptyImage": {**SIZE, "batch_size": 1, "color": 0xFF8000},
    "SplitImageWithAlpha": {"image": PIC},
    "JoinImageWithAlpha": {"image": PIC, "alpha": K},
    "ImagePadForOutpaint": {"image": PIC, "left": 8, "top": 8, "right": 8, "bottom": 8, "feathering": 4},
    "InvertMask": {"mask": K},
    "MaskToImage": {"mask": K},
    "ImageToMask": {"image": PIC, "channel": "alpha"},
    "ImageColorToMask": {"image": PIC, "color": 255},
    "SolidMask": {**SIZE, "value": 1.0},
    "CropMask": {"mask": K, **SIZE, **AT},
    "ThresholdMask": {"mask": K, "value": 0.5},
    "GrowMask": {"mask": K, "expand": 4, "tapered_corners": True},
    "FeatherMask": {"mask": K, "left": 4, "top": 4, "right": 4, "bottom": 4},
    "MaskComposite": {"destination": K, "source": K, "x": 0, "y": 0, "operation": "multiply"},
    "PrimitiveInt": {"value": 1},
    "PrimitiveFloat": {"value": 1.0},
    "PrimitiveBoolean": {"value": True},
    "PrimitiveString": {"value": "x"},
    "PrimitiveStringMultiline": {"value": "x"},
    "SeedNode": {"seed": 1},
    "ComfySwitchNode": {"switch": ["b", 0], "on_true": PIC, "on_false": PIC},
    "StringConcatenate": {"string_a": ["t", 0], "string_b": "b", "delimiter": ""},
    "StringReplace": {"string": ["t", 0], "find": "a", "replace": "b"},
    "CustomCombo": {"choice": "b", "index": 1, "option1": "a", "option2": "b", "option3": ""},
    "PreviewAny": {"source": ["t", 0]},
    "HyperTile": {"model": M, "tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False},
    "TomePatchModel": {"model": M, "ratio": 0.3},
    "Seed (rgthree)": {"seed": 1},
    "Any Switch (rgthree)": {"any_01": PIC},
    "Power Lora Loader (rgthree)": {
        "model": M, "clip": C, "lora_1": {"on": True, "lora": "a", "strength": 0.5},
        "lora_2": {"on": True, "lora": "b", "strength": 0.5},
    },
    "Image Comparer (rgthree)": {"image_a": PIC, "image_b": PIC},
    "ShowText|pysssss": {"text": ["t", 0], "text_0": "x"},
}  # fmt: skip
NO_PLACE = "node 'n': placeholder: the place of a choice is not given here; its data is kept"
PASSED = {  # classes that become no node of their own, or an output
    "Reroute", "CLIPSetLastLayer", "KarrasScheduler", "ExponentialScheduler", "SDTurboScheduler", "ManualSigmas",
    "AlignYourStepsScheduler", "SaveLatent", "PreviewAny", "HyperTile", "TomePatchModel", "Any Switch (rgthree)",
    "ShowText|pysssss",
}  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(home)}), discover(only=["comfyui"]).registry) as made:
        yield made


def imported(**nodes: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    document, report = import_graph({**SOURCES, **nodes})
    return document, report["lines"]


def test_every_rule_is_tried() -> None:
    assert USES.keys() == RULES.keys()
    assert FOLDED.isdisjoint(RULES)


@pytest.mark.parametrize("name", USES)
def test_a_class_becomes_nodes_that_pass_validation(session: Session, name: str) -> None:
    document, lines = imported(n=node(name, **USES[name]))
    assert [line for line in lines if "placeholder" in line or "no counterpart" in line or "default" in line] == []
    problems = {problem.code for problem in session.validate(document) if problem.node in (None, *_made(document))}
    assert problems <= {"missing_file", "no_outputs"}
    assert ("n" in document["nodes"]) == (name not in PASSED)


def _made(document: dict[str, Any]) -> list[str]:
    return [id for id in document["nodes"] if id == "n" or id.startswith("n-")]


@pytest.mark.parametrize("name", sorted(USES.keys() - PASSED))
def test_every_output_of_a_class_is_one_that_its_node_has(session: Session, name: str) -> None:
    for slot in range(4):
        document, lines = imported(n=node(name, **USES[name]), o=node("PreviewImage", images=["n", slot]))
        edge = document["nodes"]["o"]["inputs"].get("images")
        if edge is None:
            assert f"node 'o': lost: the link from output {slot} of the node 'n' leads nowhere" in lines
        else:
            found = session.engine.registry.nodes.get(document["nodes"][edge["node"]]["type"])
            assert found is None or found.spec.output(edge["output"]) is not None
            assert found is not None or NO_PLACE in lines


# Rules that look beyond one node


def test_sdxl_s_two_texts_and_sizes_become_two_nodes() -> None:
    workflow = from_json(imported(n=node("CLIPTextEncodeSDXL", **USES["CLIPTextEncodeSDXL"]))[0])
    text, sizes = workflow.nodes["n-text"], workflow.nodes["n"]
    assert (text.type, text.inputs["text_g"], text.inputs["text_l"]) == ("CLIPEncodeSDXL", "x", "y")
    assert (sizes.type, sizes.inputs["conditioning"]) == ("ConditioningSize", Edge("n-text", "conditioning"))


def test_a_sampler_in_pieces_becomes_one_node() -> None:
    workflow = from_json(imported(n=node("SamplerCustomAdvanced", **USES["SamplerCustomAdvanced"]))[0])
    made = workflow.nodes["n"]
    assert made.type == "SampleCustom"
    assert made.inputs == {
        "model": Edge("c", "model"), "positive": Edge("p", "conditioning"), "negative": Edge("p", "conditioning"),
        "cfg": 1.0, "seed": 3, "latent": Edge("l", "latent"), "sigmas": Edge("bs", "values"), "sampler": "euler",
        "noise_rule": "comfyui",
    }  # fmt: skip
    assert workflow.nodes.keys().isdisjoint({"ks", "rn", "bg"})


def test_a_guider_with_a_perpendicular_negative_brings_a_node_for_it() -> None:
    guider = node("PerpNegGuider", model=M, positive=P, negative=P, empty_conditioning=P, cfg=5.0, neg_scale=2.0)
    sampler = node("SamplerCustomAdvanced", noise=["off", 0], guider=["g", 0], **PIECES)
    workflow = from_json(imported(n=sampler, g=guider, off=node("DisableNoise"))[0])
    assert workflow.nodes["n"].inputs["model"] == Edge("n-perpendicular", "model")
    assert workflow.nodes["n"].inputs["add_noise"] is False
    assert workflow.nodes["n-perpendicular"].inputs["strength"] == 2.0


@pytest.mark.parametrize(
    ("sigmas", "values"),
    [
        (node("ManualSigmas", sigmas="2, 1.5 0"), [2, 1.5, 0]),
        (node("ExponentialScheduler", steps=3, sigma_max=8.0, sigma_min=0.5), [8, 2, 0.5, 0]),
        (node("KarrasScheduler", steps=3, sigma_max=4.0, sigma_min=1.0, rho=1.0), [4, 2.5, 1, 0]),
        (node("SDTurboScheduler", model=M, steps=1, denoise=1.0), [14.6146, 0]),
        (node("SDTurboScheduler", model=M, steps=4, denoise=0.2), [*scaled_linear_table()[[199, 99]].tolist(), 0]),
        (node("AlignYourStepsScheduler", model_type="SD1", steps=10, denoise=0.2), [0.399, 0.152, 0]),
        (node("AlignYourStepsScheduler", model_type="SDXL", steps=5, denoise=1.0),
         [14.615, 3.771, 1.342, 0.555, 0.234, 0]),
    ],
)  # fmt: skip
def test_sigmas_of_numbers_alone_are_written_down(sigmas: Any, values: list[float]) -> None:
    custom = {**USES["SamplerCustom"], "sigmas": ["s", 0]}
    document, _ = imported(n=node("SamplerCustom", **custom), s=sigmas)
    assert document["nodes"]["n"]["inputs"]["sigmas"] == pytest.approx(values, rel=2e-3)
    assert "s" not in document["nodes"]


def test_one_controlnet_acts_on_the_negative_of_the_sampler_too() -> None:
    first = node("ControlNetApply", conditioning=P, control_net=["cn", 0], image=PIC, strength=1.0)
    second = node("ControlNetApply", conditioning=["a", 0], control_net=["cn", 0], image=PIC, strength=0.5)
    negative = node("CLIPTextEncode", clip=C, text="bad")
    sampler = node("KSampler", **{**USES["KSampler"], "positive": ["b2", 0], "negative": ["neg", 0]})
    document, lines = imported(a=first, b2=second, neg=negative, k=sampler)
    nodes = from_json(document).nodes
    assert nodes["a"].inputs["negative"] == Edge("neg", "conditioning")
    assert nodes["b2"].inputs["negative"] == Edge("a", "negative")
    assert nodes["k"].inputs["positive"] == Edge("b2", "positive")
    assert nodes["k"].inputs["negative"] == Edge("b2", "negative")
    assert lines == []


def test_a_union_controlnet_is_told_what_its_picture_shows() -> None:
    union = node("SetUnionControlNetType", control_net=["cn", 0], type="canny/lineart/anime_lineart/mlsd")
    apply = node("ControlNetApplyAdvanced", **{**USES["ControlNetApplyAdvanced"], "control_net": ["u", 0]})
    document, lines = imported(u=union, n=apply)
    assert document["nodes"]["n"]["inputs"]["kind"] == "lines"
    assert lines == []


def test_a_union_controlnet_on_auto_and_a_vae_are_kept() -> None:
    union = node("SetUnionControlNetType", control_net=["cn", 0], type="auto")
    apply = node("ControlNetApplySD3", **{**USES["ControlNetApplySD3"], "control_net": ["u", 0]})
    document, lines = imported(u=union, n=apply)
    inputs = document["nodes"]["n"]["inputs"]
    assert "kind" not in inputs
    assert inputs["vae"] == {"node": "c", "output": "vae"}
    assert lines == []


def test_text_encoders_are_read_for_the_one_model_of_the_graph() -> None:
    loaders = {
        "u": node("UNETLoader", unet_name="qwen", weight_dtype="default"),
        "t": node("CLIPLoader", clip_name="a", type="qwen_image", device="default"),
        "s": node("CLIPLoader", clip_name="a", type="stable_diffusion"),
    }
    nodes = from_json(imported(**loaders)[0]).nodes
    assert nodes["t"].inputs == {"text_encoder": "a", "model": Edge("u", "model")}
    assert nodes["s"].inputs == {"text_encoder": "a"}
    more = {**loaders, "u2": node("UNETLoader", unet_name="other", weight_dtype="default")}
    assert from_json(imported(**more)[0]).nodes["t"].inputs == {"text_encoder": "a"}


def test_a_difference_that_is_added_is_one_merge() -> None:
    nodes = from_json(imported(n=node("ModelMergeAdd", **USES["ModelMergeAdd"]))[0]).nodes
    assert nodes["n"].inputs["base"] == Edge("c", "model")
    assert nodes["n"].inputs["input_share"] == 1.0
    assert "sub" not in nodes


def test_a_list_of_loras_is_a_chain() -> None:
    inputs = {**USES["Power Lora Loader (rgthree)"], "lora_3": {"on": False, "lora": "c", "strength": 1}}
    nodes = from_json(imported(n=node("Power Lora Loader (rgthree)", **inputs))[0]).nodes
    assert nodes["n-lora-1"].inputs["model"] == Edge("c", "model")
    assert nodes["n"].inputs == {
        "model": Edge("n-lora-1", "model"), "clip": Edge("n-lora-1", "clip"), "lora": "b", "model_strength": 0.5,
        "clip_strength": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        (
            {"a": node("ConditioningSetArea", **USES["ConditioningSetArea"]),
             "n": node("ConditioningSetArea", **{**USES["ConditioningSetArea"], "conditioning": ["a", 0]})},
            "node 'n': approximated: its strength replaces that of the node 'a' in ComfyUI; here both count",
        ),
        (
            {"n": node("ControlNetApply", **USES["ControlNetApply"])},
            "node 'n': approximated: no sampler takes this conditioning; its negative goes without the ControlNet",
        ),
        (
            {"n": node("SamplerCustom", **USES["SamplerCustom"]), "o": node("VAEDecode", samples=["n", 1], vae=V)},
            "node 'n': approximated: 'denoised_output' is the output here; they differ where sigmas end above 0",
        ),
        (
            {"n": node("Any Switch (rgthree)", any_01=PIC, any_02=["x", 0]), "x": node("ImageInvert", image=PIC)},
            "node 'n': changed: it gives the first connected input, from the node 'i'",
        ),
        ({"n": node("ModelSamplingDiscrete", model=M, sampling="other", zsnr=False)},
         "node 'n': placeholder: 'other' is a prediction that no model here has; its data is kept"),
        ({"n": node("KarrasScheduler", steps=3, sigma_max=1.0, sigma_min=2.0, rho=7.0)},
         "node 'n': placeholder: 'sigma_max' is not above 'sigma_min', or no sigma at all; its data is kept"),
        ({"n": node("ImageBlur", image=PIC, blur_radius=10**30, sigma=1.0)},
         f"node 'n': placeholder: 'blur_radius' is {10**30}, which is too large; its data is kept"),
        ({"n": node("LatentUpscale", **{**USES["LatentUpscale"], "upscale_method": "bislerp"})},
         "node 'n': placeholder: the method 'bislerp' does not exist here; its data is kept"),
    ],
)  # fmt: skip
def test_what_differs_is_told(nodes: dict[str, Any], line: str) -> None:
    assert line in imported(**nodes)[1]
