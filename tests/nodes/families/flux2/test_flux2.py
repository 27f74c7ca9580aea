"""Flux.2, end to end, beside diffusers' pipelines on the same weights, noise and sigmas."""

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_files import write_gguf
from PIL import Image as Picture
from safetensors.torch import load_file, save_file
from tiny_transformers import write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.flux2 import Flux2
from latentloom.nodes.families.flux2_vae import Flux2Vae
from latentloom.nodes.text.tekken import tekken

PROMPT, SEED, STEPS, SIDE = "a red fox", 5, 4, 128
FILES = {"klein": "qwen_3_4b", "dev": "mistral"}


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(
    files: str, *, folder: bool = False, output: str = "sample", port: str = "latent", text: str = "", **sampler: Any
) -> dict[str, Any]:
    """A workflow as a person makes it: split files or a folder, prompts, KSampler, decoded."""
    nodes: dict[str, Any] = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": files}}}
    model, clip, vae = (wire("load", part) for part in ("model", "clip", "vae"))
    if not folder:
        model, clip, vae = wire("unet", "model"), wire("clip", "clip"), wire("vae", "vae")
        encoder = {"text_encoder": f"{text or FILES[files]}.safetensors", "model": model}
        nodes = {
            "unet": {"type": "LoadUNet", "inputs": {"unet": f"{files}.safetensors"}},
            "clip": {"type": "LoadCLIP", "inputs": encoder},
            "vae": {"type": "LoadVAE", "inputs": {"vae": "flux2-vae.safetensors", "model": model}},
        }
    shown = {"conditioning": wire("positive", "conditioning"), "latent": wire("encode", "latent")}
    masked = {"latent": wire("encode", "latent"), "mask": wire("mask", "mask")}
    inputs = {
        "model": model,
        "positive": wire("positive", "conditioning"),
        "negative": wire("negative", "conditioning"),
        "latent": wire("empty", "latent"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": 1.0,
        "sampler": "euler",
        "schedule": "simple",
    }
    nodes |= {
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": ""}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": 64}},
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": vae, "image": wire("picture", "image")}},
        "mask": {"type": "MaskRectangle", "inputs": {"width": SIDE, "height": 64, "box_width": 64, "box_height": 64}},
        "masked": {"type": "SetLatentMask", "inputs": masked},
        "shown": {"type": "ReferenceLatent", "inputs": shown},
        "sample": {"type": "KSampler", "inputs": {**inputs, **sampler}},
        "decode": {"type": "VAEDecode", "inputs": {"vae": vae, "latent": wire("sample", "latent")}},
    }
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "flux2", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (64, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return Picture.fromarray(pixels)


def distance(found: Any, expected: torch.Tensor) -> float:
    return float((torch.tensor(found.numpy()) - expected).norm() / expected.norm())


def noise() -> torch.Tensor:
    return first_noise((1, 128, 4, SIDE // 16), SEED)


def expected(pipe: Any, output: str = "latent", **call: Any) -> torch.Tensor:
    """What the pipeline ends with, as the product's latents are: packed and normalised."""
    told = {"latents": noise(), "num_inference_steps": STEPS, "height": 64, "width": SIDE, "output_type": output}
    with torch.no_grad():
        found = pipe(prompt=PROMPT, **{**told, **call}).images
    if output != "latent":
        return torch.tensor(found)
    if found.ndim == 3:  # tokens, of Flux2Pipeline
        return found.movedim(1, 2).reshape(noise().shape)
    mean, variance = (part.view(1, -1, 1, 1) for part in (pipe.vae.bn.running_mean, pipe.vae.bn.running_var))
    return (torch.nn.functional.pixel_unshuffle(found, 2) - mean) / (variance + 1e-4) ** 0.5


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_klein_is_its_pipeline(session: Session, klein: Any, folder: bool, cfg: float) -> None:
    latent = expected(klein, guidance_scale=cfg)
    assert distance(session.run(document("klein", folder=folder, cfg=cfg))["out"], latent) < 1e-5


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
def test_dev_is_its_pipeline(session: Session, dev: Any, folder: bool) -> None:
    nodes = document("dev", folder=folder, positive=wire("guided", "conditioning"))
    guided = {"conditioning": wire("positive", "conditioning"), "guidance": 3.0}
    nodes["nodes"]["guided"] = {"type": "EmbeddedGuidance", "inputs": guided}
    found = session.run(nodes)["out"]
    assert distance(found, expected(dev, guidance_scale=3.0)) < 1e-5
    assert distance(found, expected(dev, guidance_scale=4.0)) > 1e-4
    untold = session.run(document("dev", folder=folder))["out"]
    assert distance(untold, expected(dev, guidance_scale=4.0)) < 1e-5


def test_a_text_encoder_without_its_last_layers_reads_the_same(session: Session) -> None:
    """ComfyUI has a file of the first 30 layers, without a norm behind them."""
    whole, pruned = (session.run(document("dev", text=text))["out"] for text in ("mistral", "pruned"))
    assert np.array_equal(whole.numpy(), pruned.numpy())


def by_llama_cpp(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """A weight as llama.cpp's converter writes it: its own names, and rotated rows of a head side by side."""
    if name in LLAMA_CPP:
        return LLAMA_CPP[name], tensor
    _, _, layer, *part, _ = name.split(".")
    if part[-1] in ("q_proj", "k_proj"):
        heads, (rows, columns) = 1, tensor.shape
        tensor = tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return f"blk.{layer}.{LLAMA_CPP['.'.join(part)]}.weight", tensor


LLAMA_CPP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    **{f"self_attn.{one}_proj": f"attn_{one}" for one in "qkv"},
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"mlp.{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")},
}


@pytest.mark.parametrize("format", ["F32", "Q8_0"])
def test_mistral_in_gguf_reads_as_its_numbers_do(session: Session, flux2_models: Path, format: str) -> None:
    texts = flux2_models / "text_encoders"
    state = load_file(texts / "mistral.safetensors")
    tekken_model = bytes(state.pop("tekken_model").tolist())
    tensors = dict(by_llama_cpp(name, tensor) for name, tensor in state.items())
    counts = {"llama.attention.head_count": 1, "llama.attention.head_count_kv": 1}
    write_gguf(texts / "mistral.gguf", tensors, format, architecture="llama", numbers=counts)
    (texts / "mistral3_tokenizer").mkdir(exist_ok=True)
    (texts / "mistral3_tokenizer" / "tekken.json").write_bytes(tekken_model)

    def read(file: str) -> torch.Tensor:
        nodes = document("dev", output="positive", port="conditioning")
        nodes["nodes"]["clip"]["inputs"]["text_encoder"] = file
        return session.run(nodes)["out"].entries[0].embedding.tensor()

    found, expected = read("mistral.gguf"), read("mistral.safetensors")
    assert float((found - expected).norm() / expected.norm()) < (1e-6 if format == "F32" else 0.05)


def test_pictures_are_decoded_and_encoded_as_by_the_pipeline(session: Session, klein: Any) -> None:
    pixels = expected(klein, output="np", guidance_scale=1.0)
    decoded = session.run(document("klein", output="decode", port="image"))["out"]
    assert distance(decoded, pixels) < 1e-5
    encoded = session.run(document("klein", output="encode"))["out"]
    image = torch.tensor(np.asarray(Picture.open(session.settings.input / "picture.png"))).movedim(-1, 0)[None]
    with torch.no_grad():
        latent = klein._encode_vae_image(image.float() / 127.5 - 1, None)
    assert encoded.shape == (1, 128, 4, 8)
    assert distance(encoded, latent) < 1e-5


@pytest.mark.parametrize("files", ["klein", "dev"])
def test_reference_pictures_are_those_of_the_pipeline(
    session: Session, klein: Any, dev: Any, files: str, picture: Any
) -> None:
    pipe = klein if files == "klein" else dev
    nodes = document(files, positive=wire("again", "conditioning"), negative=wire("shown", "conditioning"))
    twice = {"conditioning": wire("shown", "conditioning"), "latent": wire("encode", "latent")}
    nodes["nodes"]["again"] = {"type": "ReferenceLatent", "inputs": twice}
    found = session.run(nodes)["out"]
    told = {"guidance_scale": 4.0 if files == "dev" else 1.0}
    assert distance(found, expected(pipe, image=[picture, picture], **told)) < 1e-5
    assert distance(found, expected(pipe, **told)) > 1e-3


def test_image_to_image_starts_from_the_picture(session: Session, klein: Any) -> None:
    """The second half of the steps, from the mix of the picture and the noise."""
    encoded = torch.tensor(session.run(document("klein", output="encode"))["out"].numpy())
    found = session.run(document("klein", latent=wire("encode", "latent"), steps=2, denoise=0.5))["out"]
    klein.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 4, 4), mu=mu(32, 4))
    sigmas = klein.scheduler.sigmas[2:]
    x = noise() * sigmas[0] + encoded * (1 - sigmas[0])
    with torch.no_grad():
        prompt, text = klein.encode_prompt(PROMPT)
        for sigma, after in itertools.pairwise(sigmas):
            ids = klein._prepare_latent_ids(x)
            tokens = klein._pack_latents(x)
            v = klein.transformer(tokens, prompt, sigma[None], ids, text, return_dict=False)[0]
            x = x + (after - sigma) * v.movedim(1, 2).reshape(x.shape)
    assert distance(found, x) < 1e-4


def mu(tokens: int, steps: int) -> float:
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    return compute_empirical_mu(tokens, steps)


def test_inpainting_keeps_what_is_not_masked(session: Session) -> None:
    before = session.run(document("klein", output="encode"))["out"].numpy()
    found = session.run(document("klein", latent=wire("masked", "latent"), denoise=0.8))["out"].numpy()
    assert np.array_equal(found[..., 4:], before[..., 4:])
    assert np.abs(found[..., :4] - before[..., :4]).max() > 1e-2


def test_sides_that_are_no_multiples_of_16_are_refused(session: Session) -> None:
    nodes = document("klein")
    nodes["nodes"]["empty"]["inputs"]["height"] = 72
    found = problem(session, nodes)
    assert found.message == "KSampler: the sides of the picture are no multiples of 16"
    assert (found.expected, found.got) == ("128x80", "128x72")


# Files, and what does not fit


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


@pytest.mark.parametrize(
    ("files", "text", "expected", "got"),
    [
        ("klein", "qwen_3_8b", "Qwen3 (96 wide)", "Qwen3 (144 wide)"),
        ("dev", "qwen_3_8b", "Mistral Small 3 (96 wide)", "Qwen3 (144 wide)"),
    ],
)
def test_the_text_encoder_of_another_size_is_refused_and_both_are_named(
    session: Session, files: str, text: str, expected: str, got: str
) -> None:
    found = problem(session, document(files, text=text))
    assert found.message == f"LoadCLIP: the text encoder '{text}.safetensors' does not fit '{files}.safetensors'"
    assert (found.expected, found.got) == (expected, got)
    assert session.engine.figures()["model_loads"] == 0


def test_the_sizes_of_published_files_have_names() -> None:
    config = {"in_channels": 128, "joint_attention_dim": 7680}
    assert Flux2().facts(config)["reads"] == "Qwen3-4B"
    assert Flux2().facts({**config, "joint_attention_dim": 12288})["reads"] == "Qwen3-8B"
    assert (
        Flux2().facts({**config, "joint_attention_dim": 15360, "guidance_embeds": True})["reads"] == "Mistral Small 3"
    )


def test_a_text_encoder_with_too_few_layers_is_refused(session: Session) -> None:
    found = problem(session, document("klein", text="short"))
    assert found.message == "LoadCLIP: 'short.safetensors' has too few layers for Flux.2"
    assert (found.expected, found.got) == ("at least 27 layers", "Qwen3 with 12")


def test_what_a_file_is(flux2_models: Path) -> None:
    nets = flux2_models / "diffusion_models"
    found = [Flux2().recognise(path) for path in (nets / "dev.safetensors", nets / "klein.safetensors")]
    assert [one and one["about"] for one in found] == ["Flux.2 dev", "Flux.2 klein"]
    facts = [one["unet"] for one in found if one]
    assert [one.get("guidance") for one in facts] == [4.0, None]
    assert [one["defaults"]["steps"] for one in facts] == [20, 4]
    folder = Flux2().recognise(flux2_models / "checkpoints" / "klein")
    assert folder is not None
    assert folder["unet"]["defaults"] == {"steps": 50, "cfg": 4.0, "sampler": "euler", "schedule": "simple"}
    assert folder["unet"]["shift"] == {"by": "size_and_steps", "patch": 1, "count": 10_000}
    vae = Flux2Vae().recognise(flux2_models / "vae" / "flux2-vae.safetensors")
    assert vae and vae["vae"] == {"downscale": 16, "channels": 128, "latents": "flux2"}


def test_a_distilled_klein_in_a_folder_has_few_steps(flux2_models: Path, tmp_path: Path) -> None:
    folder = flux2_models / "checkpoints" / "klein"
    (tmp_path / "k").mkdir()
    for part in folder.iterdir():
        if part.is_dir():
            (tmp_path / "k" / part.name).symlink_to(part)
    said = json.loads((folder / "model_index.json").read_text())
    (tmp_path / "k" / "model_index.json").write_text(json.dumps({**said, "is_distilled": True}))
    found = Flux2().recognise(tmp_path / "k")
    assert found and found["unet"]["defaults"]["steps"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("half", "the Flux.2 of 'bad.safetensors' lacks weights"),
        ("cut", "'bad.safetensors' ends early"),
        ("wide", "the Flux.2 of 'bad.safetensors' has a weight of a different shape"),
    ],
)
def test_a_damaged_model_is_refused(session: Session, flux2_models: Path, change: str, message: str) -> None:
    place = flux2_models / "diffusion_models" / "bad.safetensors"
    state = load_file(flux2_models / "diffusion_models" / "klein.safetensors")
    if change == "half":
        state = {name: tensor for name, tensor in state.items() if "single_blocks.1.linear2" not in name}
    if change == "wide":
        state["single_blocks.0.linear2.weight"] = torch.zeros(32, 4)
    save_file(state, place)
    if change == "cut":
        place.write_bytes(place.read_bytes()[:-100])
    nodes = document("klein")
    nodes["nodes"]["unet"]["inputs"]["unet"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert message in found.message


def test_the_vae_of_flux_1_is_refused(session: Session, flux2_models: Path) -> None:
    from tiny_transformers import autoencoder
    from tiny_transformers import original_vae as first

    write(first(autoencoder(0.3611, 0.1159)), flux2_models / "vae" / "ae.safetensors")
    nodes = document("klein", output="decode", port="image")
    nodes["nodes"]["vae"]["inputs"]["vae"] = "ae.safetensors"
    found = problem(session, nodes)
    assert found.message == "LoadVAE: the VAE 'ae.safetensors' does not fit 'klein.safetensors'"
    assert found.expected == "the VAE of Flux.2 (flux2-vae.safetensors) (128 channels of Flux.2)"


def test_a_lora_by_the_authors_names_or_diffusers_changes_the_same(session: Session, flux2_models: Path) -> None:
    torch.manual_seed(3)
    down, up = torch.randn(2, 32), torch.randn(96, 2)
    parts = up.chunk(3)
    theirs = {"diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": down}
    theirs["diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight"] = up
    ours = {}
    for name, part in zip("qkv", parts, strict=True):
        layer = f"transformer.transformer_blocks.0.attn.to_{name}"
        ours |= {f"{layer}.lora_A.weight": down.clone(), f"{layer}.lora_B.weight": part.contiguous()}
    (flux2_models / "loras").mkdir(exist_ok=True)
    found = []
    for name, state in (("theirs", theirs), ("ours", ours)):
        save_file(state, flux2_models / "loras" / f"{name}.safetensors")
        nodes = document("klein", model=wire("lora", "model"))
        inputs = {"model": wire("unet", "model"), "lora": f"{name}.safetensors"}
        nodes["nodes"]["lora"] = {"type": "LoadLoraModel", "inputs": inputs}
        found.append(torch.tensor(session.run(nodes)["out"].numpy()))
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-5
    assert distance(session.run(document("klein"))["out"], found[0]) > 1e-3


def test_tekken_merges_by_rank() -> None:
    """Byte-pair encoding as defined: the pair with the lowest rank is merged first (Sennrich et al. 2016)."""
    parts = [b"ab", b"bc", b"abc", b"cd", b"bcd"]
    tokens = [bytes([n]) for n in range(256)] + parts
    ranks = {token: n for n, token in enumerate(tokens)}
    said = {
        "config": {"pattern": r"\S+|\s+", "default_vocab_size": 2 + len(tokens) - 1},
        "vocab": [{"rank": n, "token_bytes": base64.b64encode(token).decode()} for n, token in enumerate(tokens)],
        "special_tokens": [{"rank": n, "token_str": name} for n, name in enumerate(("<unk>", "<s>"))],
    }
    made, known = tekken(json.dumps(said).encode()), {t: n for t, n in ranks.items() if n < len(tokens) - 1}

    def encoded(word: bytes) -> list[int]:
        found = [bytes([byte]) for byte in word]
        while pairs := [(known[a + b], n) for n, (a, b) in enumerate(itertools.pairwise(found)) if a + b in known]:
            _, n = min(pairs)
            found[n : n + 2] = [found[n] + found[n + 1]]
        return [known[part] + 2 for part in found]

    for word in ("abcd", "bcd", "abcabcd", "xyz", "\u00e9bc"):
        assert made.encode(word, add_special_tokens=False).ids == encoded(word.encode())
    assert made.encode("<s>ab", add_special_tokens=False).ids == [1, ranks[b"ab"] + 2]


def test_the_second_picture_has_previews(session: Session) -> None:
    def shown(seed: int) -> list[Any]:
        events = session.stream(document("klein", output="decode", port="image", seed=seed, steps=1))
        return [event.image.shape for event in events if event.name == "node_preview"]

    assert (shown(1), shown(2)) == ([], [(1, 32, SIDE // 2, 3)])
