"""ControlNets of transformers beside diffusers' pipelines, on the same weights, noise and sigmas."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetInpaintingPipeline,
    StableDiffusion3ControlNetPipeline,
)
from PIL import Image as Picture
from safetensors.torch import load_file, save_file
from tiny_transformers import (
    autoencoder,
    clip,
    flux_names,
    original_vae,
    randomised,
    t5,
    t5_tokenizer,
    write,
)

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.control_tokens import progress, token_weight
from latentloom.nodes.diffusion.flow import flow_table, shifted
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.controlnet.flux import FluxControl
from latentloom.nodes.families.controlnet.sd3 import SD3Control
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer

PROMPT, NEGATIVE, SEED, STEPS, SIDE, WIDTH, L, G = "a red fox", "grey", 5, 4, 64, 48, 32, 48
FLUX = {
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": L,
    "axes_dims_rope": (4, 14, 14),
}
SD3 = {
    "sample_size": 32,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": L + G,
    "caption_projection_dim": 64,
    "attention_head_dim": 64,
    "num_attention_heads": 1,
    "pos_embed_max_size": 12,
}


def flux_net(**more: Any) -> FluxControlNetModel:
    told = {"num_layers": 1, "num_single_layers": 1, "guidance_embeds": True, **FLUX, **more}
    return randomised(FluxControlNetModel(**told))


def sd3_net(**more: Any) -> SD3ControlNetModel:
    return randomised(SD3ControlNetModel(**{"num_layers": 1, **SD3, **more}))


def stability_net() -> SD3ControlNetModel:
    """As those of SD 3.5 Large: without text and positions."""
    return sd3_net(
        num_layers=2,
        joint_attention_dim=None,
        use_pos_embed=False,
        pos_embed_type=None,
        pos_embed_max_size=None,
        force_zeros_for_pooled_projection=False,
    )


def xlabs_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a ControlNet with one double block by XLabs' names."""
    single = {
        f"single_transformer_blocks.{n}.{name}.{kind}": torch.zeros(0)
        for n in range(2)
        for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")
        for kind in ("weight", "bias")
    }
    norms = {f"single_transformer_blocks.{n}.attn.norm_{q}.weight": torch.zeros(0) for n in range(2) for q in "qk"}
    found = flux_names({**state, **single, **norms})
    hints = ["conv_in", *(f"blocks.{n}" for n in range(6)), "conv_out"]
    for kind in ("weight", "bias"):
        found[f"pos_embed_input.{kind}"] = state[f"controlnet_x_embedder.{kind}"]
        found[f"controlnet_blocks.0.{kind}"] = state[f"controlnet_blocks.0.{kind}"]
        found |= {
            f"input_hint_block.{2 * n}.{kind}": state[f"input_hint_block.{h}.{kind}"] for n, h in enumerate(hints)
        }
    return {name: tensor for name, tensor in found.items() if not name.startswith("single_blocks.")}


def stability_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {name: tensor for name, tensor in state.items() if not name.startswith("transformer_blocks.")}
    renamed = {"attn.to_out.0": "attn.proj", "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2"}
    renamed["norm1.linear"] = "adaLN_modulation.1"
    for kind in ("weight", "bias"):
        for n in range(2):
            place = f"transformer_blocks.{n}."
            found |= {f"{place}{theirs}.{kind}": state[f"{place}{ours}.{kind}"] for ours, theirs in renamed.items()}
            parts = [state[f"{place}attn.to_{part}.{kind}"] for part in "qkv"]
            found[f"{place}attn.qkv.{kind}"] = torch.cat(parts)
    return found


@pytest.fixture(scope="module")
def nets() -> dict[str, Any]:
    torch.manual_seed(3)
    return {
        "plain": flux_net(),
        "second": flux_net(num_layers=2, num_single_layers=0, guidance_embeds=False),
        "union": flux_net(num_mode=7),
        "xlabs": flux_net(num_single_layers=0, patch_size=2, conditioning_embedding_channels=16),
        "sd3": sd3_net(),
        "large": stability_net(),
        "repaint": sd3_net(extra_conditioning_channels=1),
    }


@pytest.fixture(scope="module")
def flux() -> FluxControlNetPipeline:
    torch.manual_seed(0)
    net = randomised(FluxTransformer2DModel(num_layers=3, num_single_layers=2, guidance_embeds=True, **FLUX))
    return FluxControlNetPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096
        ),
        vae=autoencoder(0.3611, 0.1159),
        text_encoder=clip(L),
        tokenizer=clip_tokenizer("end"),
        text_encoder_2=t5(WIDTH),
        tokenizer_2=t5_tokenizer(),
        transformer=net,
        controlnet=None,
    )


@pytest.fixture(scope="module")
def sd3(flux: FluxControlNetPipeline, nets: dict[str, Any]) -> StableDiffusion3ControlNetPipeline:
    torch.manual_seed(1)
    first = clip(L, L)
    torch.nn.init.eye_(first.text_projection.weight)  # as it is where CLIP-L comes as a file
    return StableDiffusion3ControlNetPipeline(
        transformer=randomised(SD3Transformer2DModel(num_layers=3, **SD3)),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(1.5305, 0.0609),
        text_encoder=first,
        tokenizer=clip_tokenizer("end"),
        text_encoder_2=clip(G, G, "gelu"),
        tokenizer_2=clip_tokenizer("zero"),
        text_encoder_3=flux.text_encoder_2,
        tokenizer_3=t5_tokenizer(),
        controlnet=nets["sd3"],
    )


@pytest.fixture(scope="module")
def models(
    flux: FluxControlNetPipeline,
    sd3: StableDiffusion3ControlNetPipeline,
    nets: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    root = tmp_path_factory.mktemp("controls") / "models"
    flux.controlnet = nets["plain"]
    flux.save_pretrained(root / "checkpoints" / "flux")
    sd3.save_pretrained(root / "checkpoints" / "sd3")
    for name, net in nets.items():
        write(net.state_dict(), root / "controlnet" / f"{name}.safetensors")
    write(xlabs_names(nets["xlabs"].state_dict()), root / "controlnet" / "theirs.safetensors")
    write(stability_names(nets["large"].state_dict()), root / "controlnet" / "stability.safetensors")
    nets["sd3"].save_pretrained(root / "controlnet" / "folder")
    torch.manual_seed(2)
    schnell = randomised(FluxTransformer2DModel(num_layers=1, num_single_layers=2, **FLUX))
    write(flux_names(schnell.state_dict()), root / "unet" / "schnell.safetensors")
    write_broken(nets["plain"].state_dict(), root / "controlnet")
    return root


def write_broken(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Files that lack weights, that lack what tells their configuration, that end early, and one for a wider model."""
    write({name: tensor for name, tensor in state.items() if ".ff." not in name}, folder / "half.safetensors")
    few = {name: tensor for name, tensor in state.items() if "context_embedder" not in name}
    write(few, folder / "headless.safetensors")
    whole = (folder / "plain.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    write(flux_net(num_attention_heads=3).state_dict(), folder / "wide.safetensors")


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    for name, seed in (("picture", 0), ("other", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Picture.fromarray(pixels).save(tmp_path / f"{name}.png")
    half = np.zeros((SIDE, SIDE), np.uint8)
    half[:, :32] = 255
    Picture.fromarray(half).save(tmp_path / "half.png")
    told = {"models": [models], "input": tmp_path, "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(told, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(base: str, *controls: dict[str, Any], side: int = SIDE, **sampler: Any) -> dict[str, Any]:
    """Text to image with ControlNets in a row: "net" names a file, "image" and "mask" pictures."""
    nodes: dict[str, Any] = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": base}},
        "positive": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": side, "height": SIDE}},
    }
    ends = [wire("positive", "conditioning"), wire("negative", "conditioning")]
    for n, control in enumerate(controls):
        told = {"image": "picture.png", "type": "ApplyControlNet", "vae": wire("load", "vae"), **control}
        nodes[f"net{n}"] = {"type": "LoadControlNet", "inputs": {"controlnet": told.pop("net")}}
        nodes[f"image{n}"] = {"type": "LoadImage", "inputs": {"image": told.pop("image")}}
        if "mask" in told:
            nodes[f"mask{n}"] = {"type": "LoadMask", "inputs": {"image": told["mask"], "channel": "luminance"}}
            told["mask"] = wire(f"mask{n}", "mask")
        inputs = {"controlnet": wire(f"net{n}", "controlnet"), "image": wire(f"image{n}", "image")}
        kind, told = told["type"], {name: value for name, value in told.items() if name != "type" and value is not None}
        nodes[f"apply{n}"] = {"type": kind, "inputs": {**inputs, "positive": ends[0], "negative": ends[1], **told}}
        ends = [wire(f"apply{n}", "positive"), wire(f"apply{n}", "negative")]
    if base == "schnell":
        nodes["load"]["inputs"]["checkpoint"] = "flux"
        nodes["unet"] = {"type": "LoadUNet", "inputs": {"unet": "schnell.safetensors"}}
    model = wire("unet" if base == "schnell" else "load", "model")
    inputs = {"model": model, "positive": ends[0], "negative": ends[1]}
    inputs |= {"latent": wire("empty", "latent"), "seed": SEED, "steps": STEPS, "cfg": 1.0, "sampler": "euler"}
    nodes["sample"] = {"type": "KSampler", "inputs": {**inputs, "schedule": "simple", **sampler}}
    return {"format": "latentloom/1", "nodes": nodes, "outputs": [{"name": "out", "from": wire("sample", "latent")}]}


def latent(session: Session, base: str, *controls: dict[str, Any], **more: Any) -> torch.Tensor:
    return torch.tensor(session.run(document(base, *controls, **more))["out"].numpy())


def distance(found: Any, expected: Any) -> float:
    return float((found - expected).norm() / expected.norm())


def picture(seed: int = 0) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return torch.tensor(pixels).movedim(-1, 0)[None].float() / 255


@pytest.fixture(autouse=True)
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipelines sample the VAE's posterior, the product takes its mean."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior

    monkeypatch.setattr(Posterior, "sample", lambda self, generator=None: self.mean)


def of_flux(flux: FluxControlNetPipeline, net: Any, cfg: float = 1.0, **call: Any) -> torch.Tensor:
    made = FluxControlNetPipeline(**{**flux.components, "controlnet": net})
    made.set_progress_bar_config(disable=True)
    noise = first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)
    with torch.no_grad():
        found = made(
            PROMPT,
            negative_prompt=NEGATIVE,
            true_cfg_scale=cfg,
            guidance_scale=3.5,
            latents=FluxControlNetPipeline._pack_latents(noise, 1, 16, SIDE // 8, SIDE // 8),
            num_inference_steps=STEPS,
            output_type="latent",
            height=SIDE,
            width=SIDE,
            **{"control_image": picture() * 2 - 1, "controlnet_conditioning_scale": 0.7, **call},
        ).images
    return FluxControlNetPipeline._unpack_latents(found, SIDE, SIDE, 8) / 0.3611 + 0.1159


def of_sd3(sd3: StableDiffusion3ControlNetPipeline, net: Any, **call: Any) -> torch.Tensor:
    made = StableDiffusion3ControlNetPipeline(**{**sd3.components, "controlnet": net})
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        found = made(
            PROMPT,
            negative_prompt=NEGATIVE,
            guidance_scale=3.0,
            latents=first_noise((1, 16, SIDE // 8, SIDE // 8), SEED),
            num_inference_steps=STEPS,
            sigmas=sigmas(),
            output_type="latent",
            height=SIDE,
            width=SIDE,
            **{"control_image": picture() * 2 - 1, "controlnet_conditioning_scale": 0.7, **call},
        ).images
    return found / 1.5305 + 0.0609


def sigmas() -> list[float]:
    return [1.0 - n / STEPS for n in range(STEPS)]


@pytest.mark.parametrize(
    ("file", "net", "kind", "call"),
    [
        ("plain", "plain", None, {}),
        ("plain", "plain", None, {"control_guidance_start": 0.25, "control_guidance_end": 0.75}),
        ("second", "second", None, {}),
        ("union", "union", "depth", {"control_mode": 2}),
        ("theirs", "xlabs", None, {}),
    ],
)
def test_flux_is_guided_as_by_its_pipeline(
    session: Session, flux: Any, nets: dict[str, Any], file: str, net: str, kind: str | None, call: dict[str, Any]
) -> None:
    span = {"start": call.get("control_guidance_start", 0.0), "end": call.get("control_guidance_end", 1.0)}
    control = {"net": f"{file}.safetensors", "strength": 0.7, "kind": kind, **span}
    expected = of_flux(flux, nets[net], **call)
    found = latent(session, "flux", control)
    assert distance(found, expected) < 1e-5
    assert distance(found, latent(session, "flux")) > 1e-3


@pytest.mark.parametrize(
    ("file", "net"), [("sd3.safetensors", "sd3"), ("folder", "sd3"), ("large.safetensors", "large")]
)
def test_sd3_is_guided_as_by_its_pipeline(
    session: Session, sd3: Any, nets: dict[str, Any], file: str, net: str
) -> None:
    found = latent(session, "sd3", {"net": file, "strength": 0.7}, cfg=3.0)
    assert distance(found, of_sd3(sd3, nets[net])) < 1e-5
    assert distance(found, latent(session, "sd3", cfg=3.0)) > 1e-3


def test_stability_s_own_names_are_those_of_diffusers(session: Session) -> None:
    """The names of sd3.5_large_controlnet_canny.safetensors, after diffusers' script convert_sd3_controlnet."""
    ours, theirs = (latent(session, "sd3", {"net": f"{name}.safetensors"}) for name in ("large", "stability"))
    assert distance(ours, theirs) < 1e-6


def test_sd3_repaints_as_its_inpaint_pipeline(session: Session, sd3: Any, nets: dict[str, Any]) -> None:
    made = StableDiffusion3ControlNetInpaintingPipeline(**{**sd3.components, "controlnet": nets["repaint"]})
    made.set_progress_bar_config(disable=True)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., :32] = 1
    with torch.no_grad():
        found = made(
            PROMPT,
            negative_prompt=NEGATIVE,
            guidance_scale=3.0,
            latents=first_noise((1, 16, SIDE // 8, SIDE // 8), SEED),
            num_inference_steps=STEPS,
            sigmas=sigmas(),
            output_type="latent",
            height=SIDE,
            width=SIDE,
            control_image=picture() * 2 - 1,
            control_mask=mask,
            controlnet_conditioning_scale=0.7,
        ).images
    control = {"net": "repaint.safetensors", "type": "ApplyInpaintControlNet", "mask": "half.png", "strength": 0.7}
    assert distance(latent(session, "sd3", control, cfg=3.0), found / 1.5305 + 0.0609) < 1e-5


# What a control changes, and where


def test_a_controlnet_of_dev_guides_schnell(session: Session) -> None:
    """x-flux #112: schnell has no guidance to pass on."""
    plain, guided = latent(session, "schnell"), latent(session, "schnell", {"net": "plain.safetensors"})
    assert torch.isfinite(guided).all()
    assert distance(guided, plain) > 1e-3


def test_several_controls_add_up(session: Session) -> None:
    half = {"net": "plain.safetensors", "strength": 0.5}
    whole = latent(session, "flux", {"net": "plain.safetensors"})
    assert distance(latent(session, "flux", half, half), whole) < 1e-5
    other = {"net": "second.safetensors", "image": "other.png"}
    first, second = (latent(session, "flux", *pair) for pair in ((half, other), (other, half)))
    assert distance(first, second) < 1e-5
    assert distance(first, latent(session, "flux", half)) > 1e-3


def test_start_end_and_mask_limit_a_control(session: Session) -> None:
    def run(**control: Any) -> torch.Tensor:
        return latent(session, "sd3", {"net": "sd3.safetensors", **control})

    whole, plain = run(), latent(session, "sd3")
    early, late = {"net": "sd3.safetensors", "end": 0.4}, {"net": "sd3.safetensors", "start": 0.4}
    assert torch.equal(latent(session, "sd3", early, late), whole)
    assert torch.equal(run(strength=0.0), plain)
    masked = run(mask="half.png")
    assert min(distance(masked, whole), distance(masked, plain)) > 1e-3


def test_a_mask_gives_each_token_its_share() -> None:
    mask = torch.zeros(1, 1, 32, 48)
    mask[..., :8] = 1
    found = token_weight(0.5, mask, torch.zeros(1, 16, 4, 6))
    assert torch.equal(found, torch.tensor([[0.25, 0, 0, 0.25, 0, 0]])[..., None])


def test_the_way_is_that_of_the_schedule_whatever_the_shift() -> None:
    for shift in (1.0, 3.0, 3.16):
        table = flow_table({"shift": shift}, (8, 8), 4)
        sigmas = [float(shifted(torch.tensor(1 - n / 3), shift)) for n in range(3)]
        assert [progress(table, sigma) for sigma in sigmas] == [0.0, 0.3333, 0.6667]


def test_an_area_and_a_reference_picture_go_with_a_control(session: Session) -> None:
    nodes = document("flux", {"net": "plain.safetensors"})
    parts = {
        "area": {"type": "ConditioningArea", "inputs": {"x": 0, "y": 0, "width": 24, "height": 64}},
        "shown": {"type": "ReferenceLatent", "inputs": {"latent": wire("encode", "latent")}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": wire("load", "vae"), "image": wire("image0", "image")}},
    }
    parts["area"]["inputs"]["conditioning"] = parts["shown"]["inputs"]["conditioning"] = wire("apply0", "positive")
    joined = {"conditionings": [wire("area", "conditioning"), wire("shown", "conditioning")]}
    nodes["nodes"] |= {**parts, "both": {"type": "ConditioningCombine", "inputs": joined}}
    nodes["nodes"]["sample"]["inputs"]["positive"] = wire("both", "conditioning")
    found = torch.tensor(session.run(nodes)["out"].numpy())
    assert torch.isfinite(found).all()
    assert distance(found, latent(session, "flux", {"net": "plain.safetensors"})) > 1e-3


def test_sides_that_are_no_whole_tokens_are_guided(session: Session) -> None:
    for net in ("plain", "theirs"):
        plain, guided = (latent(session, "flux", *c, side=72) for c in ((), ({"net": f"{net}.safetensors"},)))
        assert guided.shape[3] == 9
        assert distance(guided, plain) > 1e-3


# Files, and what does not fit


@pytest.mark.parametrize(
    ("kind", "name", "about", "facts"),
    [
        (FluxControl, "plain", "Flux.1 ControlNet", {"context": 48, "inner": 64, "latents": True}),
        (FluxControl, "union", "Flux.1 union ControlNet", {"context": 48, "inner": 64, "latents": True, "union": 7}),
        (FluxControl, "theirs", "Flux.1 ControlNet", {"context": 48, "inner": 64, "latents": False}),
        (
            SD3Control,
            "sd3",
            "Stable Diffusion 3 ControlNet",
            {"context": 48, "inner": 64, "latents": True, "unshifted": True},
        ),
        (
            SD3Control,
            "repaint",
            "Stable Diffusion 3 inpaint ControlNet",
            {"context": 48, "inner": 64, "latents": True, "masked": True},
        ),
        (SD3Control, "stability", "Stable Diffusion 3 ControlNet", {"inner": 64, "latents": True}),
    ],
)
def test_files_are_told_apart(models: Path, kind: Any, name: str, about: str, facts: dict[str, Any]) -> None:
    found = kind().recognise(models / "controlnet" / f"{name}.safetensors")
    family = facts | {"family": kind.family}
    assert (found["about"], found["controlnet"], found["weights"]) == (about, family, "fp32")


def fault(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


@pytest.mark.parametrize(
    ("base", "net", "expected", "got"),
    [
        ("sd3", "plain", "one for Stable Diffusion 3", "one for Flux.1"),
        ("flux", "sd3", "one for Flux.1", "one for Stable Diffusion 3"),
        ("flux", "wide", "one that is 64 wide inside", "one that is 96 wide"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_loaded(
    session: Session, base: str, net: str, expected: str, got: str
) -> None:
    found = fault(session, document(base, {"net": f"{net}.safetensors"}))
    assert found.message == f"KSampler: the ControlNet '{net}.safetensors' does not fit '{base}'"
    assert (found.expected, found.got) == (expected, got)
    assert session.engine.figures()["model_loads"] == 1  # the text encoder


def test_a_vae_must_be_there_and_be_the_models(session: Session, models: Path, flux: Any) -> None:
    found = fault(session, document("flux", {"net": "plain.safetensors", "vae": None}))
    assert found.message == "ApplyControlNet: 'plain.safetensors' takes its picture as a latent"
    assert found.expected == "the VAE of the model at `vae`"
    state = original_vae(flux.vae)
    narrow = {**state, "decoder.conv_in.weight": state["decoder.conv_in.weight"][:, :4]}
    write(narrow, models / "vae" / "four.safetensors")
    nodes = document("flux", {"net": "plain.safetensors", "vae": wire("four", "vae")})
    nodes["nodes"]["four"] = {"type": "LoadVAE", "inputs": {"vae": "four.safetensors"}}
    found = fault(session, nodes)
    assert found.message == "KSampler: the VAE 'four.safetensors' does not fit 'flux'"


def test_another_picture_on_a_further_branch_is_refused(session: Session) -> None:
    nodes = document("flux", {"net": "plain.safetensors"}, cfg=2.0)
    made = nodes["nodes"]
    made["second"] = {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": "a lake"}}
    made["grey"] = {"type": "ColourImage", "inputs": {"width": SIDE, "height": SIDE}}
    inputs = {**made["apply0"]["inputs"], "image": wire("grey", "image")}
    made["other"] = {"type": "ApplyControlNet", "inputs": {**inputs, "positive": wire("second", "conditioning")}}
    guided = {"model": wire("load", "model"), "second": wire("other", "positive")}
    made["guided"] = {"type": "TwoPromptGuidance", "inputs": guided}
    made["sample"]["inputs"]["model"] = wire("guided", "model")
    found = fault(session, nodes)
    assert found.message == (
        "KSampler: an additional conditioning has its own picture for a ControlNet that sees latents"
    )
    assert found.got == "plain.safetensors"


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("half", "the ControlNet of 'half.safetensors' lacks weights"),
        ("headless", "LoadControlNet: 'headless.safetensors' is not a ControlNet that Latentloom knows"),
        ("cut", "'cut.safetensors' ends early"),
    ],
)
def test_a_part_of_a_file_is_refused(session: Session, net: str, message: str) -> None:
    assert message in fault(session, document("flux", {"net": f"{net}.safetensors"})).message


def test_kinds_and_masks_are_those_of_the_network(session: Session) -> None:
    found = fault(session, document("flux", {"net": "union.safetensors"}))
    assert found.message.endswith(
        "'union.safetensors' is a union ControlNet, which needs to know what the picture shows"
    )
    assert found.expected == "lines, tile, depth, blur, openpose, gray, low_quality"
    found = fault(session, document("sd3", {"net": "repaint.safetensors"}))
    assert found.message == "ApplyControlNet: 'repaint.safetensors' is an inpaint ControlNet, which needs a mask"
    assert found.expected == "ApplyInpaintControlNet"


def test_tensors_that_nothing_uses_are_counted(session: Session, models: Path) -> None:
    state = load_file(models / "controlnet" / "plain.safetensors")
    save_file({**state, "unheard_of.weight": torch.zeros(2)}, models / "controlnet" / "more.safetensors")
    heard: list[Any] = []
    session.run(document("flux", {"net": "more.safetensors"}), on_event=heard.append)
    (warning,) = [event.message for event in heard if getattr(event, "code", "") == "not_used"]
    assert f"1 of {len(state) + 1} tensors of more.safetensors is not used, e.g. 'unheard_of.weight'" in warning
