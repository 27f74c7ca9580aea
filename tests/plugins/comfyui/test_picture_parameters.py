"""Parameters in pictures of AUTOMATIC1111 and InvokeAI, as these programs write them."""

import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from latentloom.api import Session
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge
from latentloom.engine.errors import LoomError
from latentloom.engine.settings import load_settings
from latentloom.plugins.comfyui.parameters import import_picture
from latentloom.plugins.discovery import discover

LINE = "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 123, Size: 520x768, Model hash: abc, Model: some"
TEXT = f"a cat <lora:fur:0.8>,\nwith (hat:1.2)\nNegative prompt: blurry,\nugly\n{LINE}, Clip skip: 2, Version: v1.9"
ALWAYS = "approximated: step noise and rounding differ from the other program, so details differ"


def png(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    out = io.BytesIO()
    Pil.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def jpeg(comment: bytes) -> bytes:
    exif, out = Pil.Exif(), io.BytesIO()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = comment
    Pil.new("RGB", (4, 4)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def imported(data: bytes) -> tuple[Any, list[str]]:
    found = import_picture(data)
    assert found is not None
    return from_json(found[0]), [line for line in found[1]["lines"] if line != ALWAYS]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(home)}), discover(only=["comfyui"]).registry) as made:
        yield made


def test_a_picture_of_automatic1111_becomes_its_workflow() -> None:
    workflow, lines = imported(png(parameters=TEXT))
    nodes = workflow.nodes
    assert nodes["checkpoint"].inputs == {"checkpoint": "some.safetensors"}
    assert nodes["lora-1"].inputs["lora"] == "fur.safetensors"
    assert nodes["lora-1"].inputs["clip_strength"] == 0.8
    assert nodes["positive"].inputs == {
        "clip": Edge("lora-1", "clip"), "text": "a cat ,\nwith (hat:1.2)", "grammar": "a1111", "clip_skip": 2,
    }  # fmt: skip
    assert nodes["negative"].inputs["text"] == "blurry,\nugly"
    assert nodes["empty"].inputs == {"width": 520, "height": 768, "batch": 1}
    sample = nodes["sample"].inputs
    assert {name: sample[name] for name in ("seed", "steps", "cfg", "sampler", "schedule", "noise_rule")} == {
        "seed": 123, "steps": 20, "cfg": 7.5, "sampler": "dpmpp_2m", "schedule": "karras", "noise_rule": "comfyui_cuda",
    }  # fmt: skip
    assert [item.name for item in workflow.inputs] == ["prompt", "negative", "seed", "steps", "cfg"]
    assert lines == [
        "changed: 'fur' names a LoRA; the file 'fur.safetensors' is meant",
        "changed: 'some' names a model; the file 'some.safetensors' is meant",
    ]


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_the_comment_of_a_jpeg_says_the_same(encoding: str) -> None:
    assert import_picture(jpeg(b"UNICODE\0" + TEXT.encode(encoding))) == import_picture(png(parameters=TEXT))
    assert import_picture(jpeg(b"ASCII\0\0\0" + TEXT.encode())) == import_picture(png(parameters=TEXT))


@pytest.mark.parametrize(
    ("more", "sampler", "schedule"),
    [
        ("Sampler: Euler a", "euler_ancestral", "normal"),
        ("Sampler: DPM++ 2M, Schedule type: Automatic", "dpmpp_2m", "karras"),
        ("Sampler: DPM++ 3M SDE, Schedule type: Automatic", "dpmpp_3m_sde", "exponential"),
        ("Sampler: Euler, Schedule type: SGM Uniform", "euler", "sgm_uniform"),
        ("Sampler: DPM++ 2M SDE Heun Exponential", "dpmpp_2m_sde_heun", "exponential"),
    ],
)
def test_samplers_and_schedules_have_other_names(more: str, sampler: str, schedule: str) -> None:
    nodes = imported(png(parameters=f"x\nSteps: 5, {more}, Seed: 1, Model: m.safetensors"))[0].nodes
    assert (nodes["sample"].inputs["sampler"], nodes["sample"].inputs["schedule"]) == (sampler, schedule)


def test_a_second_pass_is_made_again() -> None:
    more = "Model: m.safetensors, Denoising strength: 0.5, Hires upscale: 1.5, Hires steps: 8, Hires upscaler: "
    nodes = imported(png(parameters=f"x\n{LINE}, {more}Latent"))[0].nodes
    assert nodes["enlarge"].type == "LatentUpscale"
    assert nodes["enlarge"].inputs["factor"] == 1.5
    assert (nodes["refine"].inputs["steps"], nodes["refine"].inputs["denoise"]) == (8, 0.5)
    assert nodes["decode"].inputs["latent"] == Edge("refine", "latent")
    workflow, lines = imported(png(parameters=f"x\n{LINE}, {more}ESRGAN_4x"))
    assert workflow.nodes["larger"].inputs["factor"] == 1.5
    assert "changed: the image is enlarged by lanczos, not by 'ESRGAN_4x'" in lines


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("Denoising strength: 0.5",
         "lost: the source image is not in the file; sampling starts from noise"),
        ("Sampler: Restart", "changed: there is no sampler 'restart' here; euler is used instead"),
        ("Seed: -7", "lost: 'Seed' is '-7', which is not an integer"),
        ("CFG scale: much", "lost: 'CFG scale' is 'much', which is not a number"),
        ('Face restoration: CodeFormer, "x": 1, Tiling: True',
         "lost: 2 parameters not used here: Face restoration, Tiling"),
    ],
)  # fmt: skip
def test_what_is_not_made_again_is_told(more: str, line: str) -> None:
    assert line in imported(png(parameters=f"x\nSteps: 5, Model: m.safetensors, {more}"))[1]


INVOKE = {
    "positive_prompt": "a cat", "negative_prompt": "bad", "width": 1024, "height": 768, "seed": 2**32, "steps": 30,
    "cfg_scale": 6.5, "scheduler": "dpmpp_2m_k", "model": {"name": "some model", "base": "sdxl"}, "clip_skip": 1,
    "loras": [{"model": {"name": "fur"}, "weight": 0.5}], "strength": 0.4,
}  # fmt: skip


def test_a_picture_of_invokeai_becomes_its_workflow() -> None:
    workflow, lines = imported(png(invokeai_metadata=json.dumps(INVOKE)))
    nodes = workflow.nodes
    assert nodes["checkpoint"].inputs == {"checkpoint": "some model.safetensors"}
    assert nodes["positive"].inputs["clip_skip"] == 2
    assert nodes["empty"].inputs == {"width": 1024, "height": 768, "batch": 1}
    sample = nodes["sample"].inputs
    assert (sample["seed"], sample["steps"], sample["cfg"]) == (2**32, 30, 6.5)
    assert (sample["sampler"], sample["schedule"]) == ("dpmpp_2m", "karras")
    assert "lost: 1 parameter not used here: strength" in lines


@pytest.mark.parametrize(
    "data", [b"", b"{}", png(), png(parameters="a picture"), png(invokeai_metadata="{}"), jpeg(b"")]
)
def test_other_files_are_left_to_others(data: bytes) -> None:
    assert import_picture(data) is None


@pytest.mark.parametrize("data", [png(parameters=TEXT), png(invokeai_metadata=json.dumps(INVOKE))])
def test_what_is_made_passes_validation_but_for_its_files(session: Session, data: bytes) -> None:
    found = import_picture(data)
    assert found is not None
    assert {problem.code for problem in session.validate(found[0])} == {"missing_file"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "model", "weight"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*INVOKE, "vae", "other"]), VALUES), st.text(max_size=80))
def test_whatever_a_picture_says_gives_a_document_or_nothing(known: dict[str, Any], text: str) -> None:
    said = f"{text}\nSteps: {text}, Size: {text}, Hires upscale: 2, Seed: {text}, CFG scale: {text}"
    for texts in ({"invokeai_metadata": json.dumps({"positive_prompt": "x", **known})}, {"parameters": said}):
        with contextlib.suppress(LoomError, ValueError):  # what PNG cannot hold
            found = import_picture(png(**texts))
            if found is not None:
                from_json(found[0])


@pytest.mark.parametrize("tag", ["<lora:fur:0.8:0.5>", "<lora:fur:0.8:te=0.5:stop=20>"])
def test_what_a_tag_says_beside_one_weight_is_told(tag: str) -> None:
    workflow, lines = imported(png(parameters=f"a {tag}\n{LINE}"))
    assert workflow.nodes["lora-1"].inputs["model_strength"] == 0.8
    assert any(line.startswith("lost: what the tag of the LoRA 'fur' says beside one weight") for line in lines)


def test_a_lora_in_the_negative_prompt_is_told() -> None:
    _, lines = imported(png(parameters=f"a\nNegative prompt: bad <lora:fur:0.8>\n{LINE}"))
    assert "lost: 1 LoRA in the negative prompt, which has no effect there" in lines


def test_a_size_that_is_none_is_told() -> None:
    _, lines = imported(png(parameters="a\nSteps: 4, Size: 9x99999999, Seed: 1"))
    assert "lost: 'Size' is '9x99999999', which is no width and height; 512x512 counts" in lines


def test_a_value_of_a_wrong_type_is_told() -> None:
    _, lines = imported(png(invokeai_metadata=json.dumps({"positive_prompt": "a", "steps": "30", "cfg_scale": [7]})))
    assert "lost: 'steps' is '30', which cannot be read; the default counts" in lines
    assert any(line.startswith("lost: 'cfg_scale' is ") for line in lines)


@pytest.mark.parametrize(
    ("loras", "line"),
    [
        ([{"model": {"name": "fur"}, "weight": "much"}], "lost: the weight of the LoRA 'fur' is 'much'; 1 counts"),
        ([{"model": {"name": "fur"}, "weight": None}], "lost: the weight of the LoRA 'fur' is None; 1 counts"),
        ([{"model": {}}, "fur"], "lost: 2 LoRAs without a name that can be read"),
        ({"name": "fur"}, "lost: 1 LoRA without a name that can be read"),
    ],
)
def test_a_lora_of_invokeai_that_cannot_be_read_is_told(loras: Any, line: str) -> None:
    assert line in imported(png(invokeai_metadata=json.dumps({"positive_prompt": "a", "loras": loras})))[1]


def test_the_metadata_of_the_second_version_is_read() -> None:
    image = {"prompt": [{"prompt": "a cat [blurry] on a mat [ugly]", "weight": 1}], "steps": 21, "cfg_scale": 6.5,
             "width": 512, "height": 640, "seed": 3, "sampler": "k_euler_a", "type": "txt2img"}  # fmt: skip
    data = {"model": "stable diffusion", "model_weights": "sd-1.5", "app_version": "2.3.5", "image": image}
    workflow, _ = imported(png(**{"sd-metadata": json.dumps(data)}))
    texts = [workflow.nodes[name].inputs["text"] for name in ("positive", "negative")]
    assert texts == ["a cat  on a mat", "blurry, ugly"]
    sample = workflow.nodes["sample"].inputs
    assert [sample[name] for name in ("seed", "steps", "cfg", "sampler")] == [3, 21, 6.5, "euler_ancestral"]
    assert workflow.nodes["checkpoint"].inputs["checkpoint"] == "sd-1.5.safetensors"
