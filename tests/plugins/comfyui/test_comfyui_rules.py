"""Each class with a counterpart, used as ComfyUI writes it: what it becomes passes validation, with all its inputs."""

from collections.abc import Iterator
from typing import Any

import pytest
from comfyui_uses import PAIRED, PIC, PIECES, SOURCES, USES, C, M, P, V, node

from latentloom.api import Session
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.schedules import scaled_linear_table
from latentloom.plugins.comfyui.absent import REASONS
from latentloom.plugins.comfyui.classes import FOLDED, RULES
from latentloom.plugins.comfyui.importing import import_graph
from latentloom.plugins.discovery import discover

PASSED = {  # classes that become no node of their own, or an output
    "AlignYourStepsScheduler", "Any Switch (rgthree)", "CLIPSetLastLayer", "CR Image Input Switch",
    "CR Latent Input Switch", "CR Model Input Switch", "CR Text Input Switch", "ExponentialScheduler",
    "Flux2Scheduler", "HyperTile", "ImpactSwitch", "KarrasScheduler", "ManualSigmas", "ModelAttentionBackend",
    "PolyexponentialScheduler", "Reroute",
    "SDTurboScheduler", "SaveLatent", "TomePatchModel", "VPScheduler", "easy cleanGpuUsed", "easy clearCacheAll",
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
    assert USES.keys() | PAIRED.keys() == RULES.keys()
    assert FOLDED.isdisjoint(RULES)


@pytest.mark.parametrize("name", USES)
def test_a_class_becomes_nodes_that_pass_validation(session: Session, name: str) -> None:
    document, lines = imported(n=node(name, **USES[name]))
    assert [line for line in lines if "placeholder" in line or "no counterpart" in line or "default" in line] == []
    problems = {problem.code for problem in session.validate(document) if problem.node in (None, *_made(document))}
    assert problems <= {"missing_file", "no_outputs"}
    assert ("n" in document["nodes"]) == (name not in PASSED)


SEVERAL = {"CLIPTextEncodeSDXL", "CLIPTextEncodeSDXLRefiner", "ImageToMask", "StringFunction|pysssss"}
SEVERAL |= {"UltimateSDUpscale", "ImpactWildcardProcessor"}  # classes that become several nodes, or one by chance


@pytest.mark.parametrize("name", sorted(USES.keys() - PASSED - SEVERAL))
def test_a_node_is_found_by_the_name_of_its_class(session: Session, name: str) -> None:
    document, _ = imported(n=node(name, **USES[name]))
    type = document["nodes"]["n"]["type"]
    assert name in (type, *session.engine.registry.nodes[type].spec.aliases)


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
            assert found is not None
            assert found.spec.output(edge["output"]) is not None


# Rules that look beyond one node


def test_a_crop_by_a_mask_is_pasted_back(session: Session) -> None:
    graph = {
        "n": node("InpaintCropImproved", **USES["InpaintCropImproved"]),
        "s": node("InpaintStitchImproved", **PAIRED["InpaintStitchImproved"]),
    }
    document, lines = imported(**graph)
    nodes = from_json(document).nodes
    assert nodes["s"].inputs == {
        "image": Edge("i", "image"), "mask": Edge("n-soft", "mask"), "region": Edge("n", "region"),
        "part": Edge("n", "image"),
    }  # fmt: skip
    assert lines == ["node 'n': approximated: the margin around the mask is 16 pixels, and its edge a ramp"]
    assert {problem.code for problem in session.validate(document)} <= {"missing_file", "no_outputs"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("FaceDetailer", "its mask comes from a learned detector, and there is none here: Detailer takes any mask"),
        ("GLIGENTextBoxApply", "GLIGEN's grounding layers are not supported: ConditioningArea places prompts"),
        ("HypernetworkLoader", "hypernetworks are not supported: use a LoRA"),
    ],
)
def test_a_class_without_a_counterpart_says_why(name: str, reason: str) -> None:
    assert imported(n=node(name))[1] == [f"node 'n': placeholder: {reason}; its data is kept"]


def test_a_reason_is_given_for_no_class_that_has_a_counterpart() -> None:
    assert REASONS.keys().isdisjoint({*RULES, *FOLDED})


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


def test_a_guider_of_two_prompts_brings_a_node_for_the_second() -> None:
    parts = {
        "model": M,
        "cond1": P,
        "cond2": ["p2", 0],
        "negative": ["p3", 0],
        "cfg_conds": 5.0,
        "cfg_cond2_negative": 2.0,
    }
    more = {"p2": node("CLIPTextEncode", clip=C, text="y"), "p3": node("CLIPTextEncode", clip=C, text="z")}
    sampler = node("SamplerCustomAdvanced", noise=["rn", 0], guider=["g", 0], **PIECES)
    nodes = from_json(imported(n=sampler, g=node("DualCFGGuider", **parts, style="regular"), **more)[0]).nodes
    assert nodes["n-second"].inputs == {"model": Edge("c", "model"), "second": Edge("p2", "conditioning"), "cfg": 2.0}
    assert nodes["n"].inputs["model"] == Edge("n-second", "model")
    assert (nodes["n"].inputs["negative"], nodes["n"].inputs["cfg"]) == (Edge("p3", "conditioning"), 5.0)
    nested = imported(n=sampler, g=node("DualCFGGuider", **parts, style="nested"), **more)
    assert "two prompts are applied side by side here" in nested[1][0]


@pytest.mark.parametrize(
    ("sigmas", "values"),
    [
        (node("ManualSigmas", sigmas="2, 1.5 0"), [2, 1.5, 0]),
        (node("ExponentialScheduler", steps=3, sigma_max=8.0, sigma_min=0.5), [8, 2, 0.5, 0]),
        (node("KarrasScheduler", steps=3, sigma_max=4.0, sigma_min=1.0, rho=1.0), [4, 2.5, 1, 0]),
        (node("Flux2Scheduler", steps=4, width=128, height=64), [1, 0.95457, 0.87507, 0.70014, 0]),
        (node("PolyexponentialScheduler", steps=3, sigma_max=8.0, sigma_min=0.5, rho=2.0), [8, 1, 0.5, 0]),
        (node("VPScheduler", steps=2, beta_d=0.0, beta_min=1.0, eps_s=0.5), [1.3108, 0.8054, 0]),
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
            "node 'n': approximated: no sampler uses this conditioning; the ControlNet is not applied to a negative",
        ),
        (
            {"n": node("SamplerCustom", **USES["SamplerCustom"]), "o": node("VAEDecode", samples=["n", 1], vae=V)},
            "node 'n': approximated: 'denoised_output' equals 'output' here; they differ if the sigmas end above 0",
        ),
        (
            {"n": node("Any Switch (rgthree)", any_01=PIC, any_02=["x", 0]), "x": node("ImageInvert", image=PIC)},
            "node 'n': changed: it gives the first connected input, from the node 'i'",
        ),
        ({"n": node("TextEncodeQwenImageEditPlus", clip=C, prompt="a", vae=V)},
         "node 'n': approximated: without an image the prompt is read in the template of Qwen-Image"),
        ({"n": node("TextEncodeQwenImageEdit", clip=C, prompt="a", image=PIC)},
         "node 'n': approximated: images are scaled by Lanczos, to sides that are multiples of 32"),
        ({"n": node("ModelSamplingDiscrete", model=M, sampling="other", zsnr=False)},
         "node 'n': placeholder: 'other' is not supported as a prediction; its data is kept"),
        ({"n": node("KarrasScheduler", steps=3, sigma_max=1.0, sigma_min=2.0, rho=7.0)},
         "node 'n': placeholder: 'sigma_max' must be above 'sigma_min', and both above 0; its data is kept"),
        ({"n": node("ImageBlur", image=PIC, blur_radius=10**30, sigma=1.0)},
         f"node 'n': placeholder: 'blur_radius' is {10**30}, which is too large; its data is kept"),
        ({"n": node("LatentUpscale", **{**USES["LatentUpscale"], "upscale_method": "other"})},
         "node 'n': placeholder: the method 'other' does not exist here; its data is kept"),
    ],
)  # fmt: skip
def test_what_differs_is_told(nodes: dict[str, Any], line: str) -> None:
    assert line in imported(**nodes)[1]
