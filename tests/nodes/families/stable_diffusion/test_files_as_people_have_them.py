"""Model files as people have them: gaps in configurations, other layouts and types, facts beside them, odd tensors."""

import inspect
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, schedulers
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.errors import FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.variance_exploding import table_of
from latentloom.nodes.families.stable_diffusion import noise_facts
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.nodes.families.unused import harmless

UNET = "model.diffusion_model."


def tiny_vae(**more: Any) -> AutoencoderKL:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(32, 32, 32, 32), layers_per_block=1, **blocks, **more).eval()


# Configurations with gaps


def scheduler(config: dict[str, Any]) -> dict[str, Any]:
    return noise_facts.scheduler_facts(config, "m")


def test_a_scheduler_that_says_nothing_has_the_defaults_of_diffusers() -> None:
    facts = scheduler({"_class_name": "PNDMScheduler"})
    assert facts == {
        "prediction": "epsilon",
        "zero_snr": False,
        "betas": [0.0001, 0.02, 1000],
        "beta_schedule": "linear",
    }


FOREIGN = ("Flax", "CogVideoX", "RePaint", "EDM", "FlowMatch", "Consistency")  # of other families, or of one method
NAMES = [name for name in dir(schedulers) if name.endswith("Scheduler") and not any(part in name for part in FOREIGN)]


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_every_scheduler_are_those_of_its_class(name: str) -> None:
    known = getattr(schedulers, name).__init__
    defaults = {key: value.default for key, value in inspect.signature(known).parameters.items()}
    if not {"beta_start", "beta_end", "beta_schedule"} <= defaults.keys():
        return
    facts = scheduler({"_class_name": name})
    assert facts["betas"] == [defaults["beta_start"], defaults["beta_end"], defaults["num_train_timesteps"]]
    assert facts["beta_schedule"] == defaults["beta_schedule"]


@pytest.mark.parametrize(
    "config",
    [
        {"beta_start": 0.001, "beta_end": 0.015, "beta_schedule": "linear"},
        {"beta_start": 0.001, "beta_end": 0.015, "beta_schedule": "scaled_linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.001 + 0.0001 * n for n in range(40)]},
    ],
)
def test_every_spacing_of_betas_gives_the_sigmas_of_diffusers(config: dict[str, Any]) -> None:
    known = schedulers.DDPMScheduler(**config).alphas_cumprod.double()
    found = table_of(scheduler(config))
    torch.testing.assert_close(found, ((1 - known) / known).sqrt(), rtol=2e-3, atol=0)
    assert len(found) == scheduler(config)["betas"][2]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"prediction_type": "flow"}, "'m' has an unknown prediction_type"),
        ({"beta_schedule": "sigmoid"}, "'m' has an unknown beta_schedule"),
        ({"num_train_timesteps": 10**12}, "'m' has an unusable num_train_timesteps"),
        ({"num_train_timesteps": 0}, "'m' has an unusable num_train_timesteps"),
        ({"num_train_timesteps": "1000"}, "'m' has an unusable num_train_timesteps"),
        ({"_class_name": "EDMEulerScheduler"}, "'m' was trained with a noise that Latentloom does not sample yet"),
    ],
)
def test_a_training_that_cannot_be_sampled_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError) as caught:
        scheduler(config)
    assert caught.value.problem.message == message


def test_a_folder_whose_configurations_lack_keys_counts_as_diffusers_counts_it(tmp_path: Path) -> None:
    for name, config in {
        "unet": {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "cross_attention_dim": 768},
        "vae": {"block_out_channels": [32, 32, 32, 32]},
        "scheduler": {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
        "text_encoder": {"hidden_size": 768},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{'scheduler_' * (name == 'scheduler')}config.json").write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text('{"unet": [], "vae": [], "text_encoder": []}')
    facts = DiffusersFolder().recognise(tmp_path)
    assert facts is not None
    unet = facts["unet"]
    assert (unet["prediction"], unet["scaling_factor"], unet["channels"]) == ("epsilon", 0.18215, 4)
    assert (unet["betas"], unet["beta_schedule"], unet["size"]) == ([0.00085, 0.012, 1000], "scaled_linear", 64)
    assert facts["vae"] == {"downscale": 8, "channels": 4}


# Two layouts of one network


@torch.no_grad()
def test_a_vae_file_in_the_layout_of_diffusers_decodes_as_diffusers_does(tmp_path: Path) -> None:
    vae, latent = tiny_vae(), torch.randn(1, 4, 4, 4)
    path = tmp_path / "v.safetensors"
    save_file(vae.state_dict(), path)
    facts = SingleFile().recognise(path)
    assert facts == {"vae": {"downscale": 8, "channels": 4}, "about": "VAE", "weights": "fp32"}
    found = SingleFile().load([path], {"component": "vae"})
    assert torch.equal(found.decode(latent).sample, vae.decode(latent).sample)


@torch.no_grad()
def test_a_folder_of_a_vae_is_one(tmp_path: Path) -> None:
    vae, latent = tiny_vae(), torch.randn(1, 4, 4, 4)
    vae.save_pretrained(tmp_path / "v")
    facts = DiffusersFolder().recognise(tmp_path / "v")
    assert facts == {"vae": {"downscale": 8, "channels": 4}, "about": "VAE (folder)"}
    found = DiffusersFolder().load([tmp_path / "v"], {"component": "vae"})
    assert torch.equal(found.decode(latent).sample, vae.decode(latent).sample)


@torch.no_grad()
@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_decoder_alone_decodes(layout: str, checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    if layout == "diffusers":
        weights = tiny_vae().state_dict()
    else:
        whole = load_file(checkpoint("sd1_tiny"))
        weights = {n.removeprefix("first_stage_model."): w for n, w in whole.items() if n.startswith("first_stage")}
    save_file(weights, tmp_path / "whole.safetensors")
    left = {n: w for n, w in weights.items() if not n.startswith(("encoder.", "quant_conv."))}
    save_file(left, tmp_path / "decoder.safetensors")
    facts = SingleFile().recognise(tmp_path / "decoder.safetensors")
    assert facts == {"vae": {"downscale": 8, "channels": 4, "encodes": False}, "about": "VAE", "weights": "fp32"}
    latent = torch.randn(1, 4, 4, 4)
    whole_vae, decoder = (
        SingleFile().load([tmp_path / f"{name}.safetensors"], {"component": "vae"}) for name in ("whole", "decoder")
    )
    assert torch.equal(decoder.decode(latent).sample, whole_vae.decode(latent).sample)


# Whole runs


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for folder in ("checkpoints", "vae", "loras", "controlnet"):
        (tmp_path / "models" / folder).mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(checkpoint: str, **nodes: Any) -> dict[str, Any]:
    """Text to image; `nodes` come on top, and "vae" and "lora" stand in for the checkpoint's own outputs."""
    model = wire("lora" if "lora" in nodes else "load", "model")
    texts = {
        name: {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": text}}
        for name, text in (("positive", "a red fox"), ("negative", ""))
    }
    conditions = {name: wire(name, "conditioning") for name in texts}
    made = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": checkpoint}},
        **texts,
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {
            "type": "KSampler",
            "inputs": {"model": model, "latent": wire("empty", "latent"), **conditions, "steps": 2},
        },
        "decode": {
            "type": "VAEDecode",
            "inputs": {"vae": wire("vae" if "vae" in nodes else "load", "vae"), "latent": wire("sample", "latent")},
        },
        **nodes,
    }
    outputs = [{"name": "latent", "from": wire("sample", "latent")}, {"name": "image", "from": wire("decode", "image")}]
    return {"format": "latentloom/1", "nodes": made, "outputs": outputs}


def run(session: Session, nodes: dict[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """The latent, and the warnings of what is not used by the node that told them."""
    events: list[Any] = []
    found = session.run(nodes, on_event=events.append)
    told = [event for event in events if event.name == "node_warning" and event.code == "not_used"]
    return torch.tensor(found["latent"].numpy()), [(event.node, event.message) for event in told]


def put(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, metadata)


FP8 = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FP8)
def test_a_checkpoint_in_one_byte_per_weight_computes_as_its_values_do(
    dtype: torch.dtype, session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    packed = {name: tensor.to(dtype) for name, tensor in load_file(checkpoint("sd1_tiny")).items()}
    put(models / "checkpoints" / "packed.safetensors", packed)
    put(models / "checkpoints" / "plain.safetensors", {name: tensor.float() for name, tensor in packed.items()})
    found, told = run(session, document("packed.safetensors"))
    assert torch.equal(found, run(session, document("plain.safetensors"))[0])
    assert told == []


@pytest.mark.parametrize("dtype", FP8)
def test_what_is_not_finite_in_one_byte_is_refused(
    dtype: torch.dtype, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    name = f"{UNET}middle_block.0.in_layers.2.weight"
    weights = load_file(checkpoint("sd1_tiny"))
    weights[name].view(-1)[5] = torch.nan
    path = tmp_path / "m.safetensors"
    put(path, {name: tensor.to(dtype) for name, tensor in weights.items()})
    with pytest.raises(FileError) as caught:
        SingleFile().load([path], {"component": "unet"})
    assert caught.value.problem.got == f"NaN or infinity in '{name}'"


SCALED = f"{UNET}middle_block.0.in_layers.2"


def test_whole_numbers_as_weights_are_refused(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    weights = load_file(checkpoint("sd1_tiny"))
    put(tmp_path / "m.safetensors", weights | {f"{SCALED}.weight": weights[f"{SCALED}.weight"].to(torch.int8)})
    with pytest.raises(FileError) as caught:
        SingleFile().load([tmp_path / "m.safetensors"], {"component": "unet"})
    assert caught.value.problem.got == f"int8 in '{SCALED}.weight'"


def test_a_lora_on_weights_of_one_byte_is_not_rounded_away(
    session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    packed = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(checkpoint("sd1_tiny")).items()}
    put(models / "checkpoints" / "packed.safetensors", packed)
    put(models / "checkpoints" / "plain.safetensors", {name: tensor.float() for name, tensor in packed.items()})
    factors = {f"{LORA}.lora_down.weight": torch.randn(2, 32), f"{LORA}.lora_up.weight": 0.01 * torch.randn(32, 2)}
    put(models / "loras" / "l.safetensors", factors)
    bare, packed_latent, plain = (
        run(session, document(f"{name}.safetensors", **({"lora": lora_node("l")} if lora else {})))[0]
        for name, lora in (("packed", False), ("packed", True), ("plain", True))
    )
    assert float((packed_latent - plain).norm()) < 0.1 * float((bare - plain).norm())


LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DIFFUSERS_LORA = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def lora_node(name: str) -> dict[str, Any]:
    inputs = {"model": wire("load", "model"), "clip": wire("load", "clip"), "lora": f"{name}.safetensors"}
    return {"type": "LoadLora", "inputs": inputs}


def test_a_decoder_alone_refuses_to_encode(session: Session, models: Path) -> None:
    weights = {n: w for n, w in tiny_vae().state_dict().items() if not n.startswith(("encoder.", "quant_conv."))}
    put(models / "vae" / "d.safetensors", weights)
    nodes = {
        "format": "latentloom/1",
        "nodes": {
            "vae": {"type": "LoadVAE", "inputs": {"vae": "d.safetensors"}},
            "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
            "grey": {"type": "VAEDecode", "inputs": {"vae": wire("vae", "vae"), "latent": wire("empty", "latent")}},
            "encode": {"type": "VAEEncode", "inputs": {"vae": wire("vae", "vae"), "image": wire("grey", "image")}},
        },
        "outputs": [{"name": "latent", "from": wire("encode", "latent")}],
    }
    with pytest.raises(NodeError, match=r"'d\.safetensors' contains only a decoder, which cannot encode pictures"):
        session.run(nodes)


# Facts beside the file


def test_a_yaml_beside_a_checkpoint_counts_and_a_change_of_it_too(
    session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    os.link(checkpoint("sd1_tiny"), models / "checkpoints" / "m.safetensors")
    plain, _ = run(session, document("m.safetensors"))
    beside = models / "checkpoints" / "m.yaml"
    beside.write_text('model:\n  params:\n    parameterization: "v"\n')
    as_v, _ = run(session, document("m.safetensors"))
    said = document("m.safetensors")
    said["nodes"]["load"]["inputs"]["prediction"] = "v"
    assert torch.equal(as_v, run(session, said)[0])
    assert not torch.equal(as_v, plain)
    beside.write_text('model:\n  params:\n    parameterization: "eps"\n')
    assert torch.equal(run(session, document("m.safetensors"))[0], plain)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("model:\n  params:\n    linear_start: 0.00085\n    linear_end: 0.012\n", ([0.00085, 0.012, 1000], "epsilon")),
        ("model:\n  params:\n    parameterization: x0\n", ([0.00085, 0.012, 1000], "sample")),
        ("model: []\n", ([0.00085, 0.012, 1000], "epsilon")),
        (
            "model:\n params:\n  denoiser_config:\n   params:\n    scaling_config:\n     target: sgm.x.VScaling\n",
            ([0.00085, 0.012, 1000], "v"),
        ),
    ],
)
def test_the_keys_of_a_yaml_are_those_of_the_original_code(
    text: str, facts: Any, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    os.link(checkpoint("sd1_tiny"), tmp_path / "m.safetensors")
    (tmp_path / "m.yaml").write_text(text)
    found = SingleFile().recognise(tmp_path / "m.safetensors")
    assert found is not None
    assert (found["unet"]["betas"], found["unet"]["prediction"]) == facts


def test_a_broken_yaml_is_one_error_that_names_it(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    os.link(checkpoint("sd1_tiny"), tmp_path / "m.safetensors")
    (tmp_path / "m.yaml").write_text("model: [")
    with pytest.raises(FileError, match=r"'m\.yaml' next to the model cannot be read"):
        SingleFile().recognise(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "said",
    [
        {"unet.r": 4, "unet.lora_alpha": 16},
        {"unet.r": 4, "unet.lora_alpha": 1, "unet.alpha_pattern": {DIFFUSERS_LORA.removeprefix("unet."): 16}},
        {"unet.r": 4, "unet.lora_alpha": 8, "unet.use_rslora": True},
    ],
)
def test_the_alpha_of_a_loras_header_counts_as_a_tensor_of_it_does(
    said: dict[str, Any], session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    os.link(checkpoint("sd1_tiny"), models / "checkpoints" / "m.safetensors")
    down, up = torch.randn(4, 32), torch.randn(32, 4)
    diffusers = {f"{DIFFUSERS_LORA}.lora_A.weight": down, f"{DIFFUSERS_LORA}.lora_B.weight": up}
    put(models / "loras" / "said.safetensors", diffusers, {"lora_adapter_metadata": json.dumps(said)})
    kohya = {f"{LORA}.lora_down.weight": down, f"{LORA}.lora_up.weight": up, f"{LORA}.alpha": torch.tensor(16.0)}
    put(models / "loras" / "tensor.safetensors", kohya)
    found = {name: run(session, document("m.safetensors", lora=lora_node(name)))[0] for name in ("said", "tensor")}
    assert torch.equal(found["said"], found["tensor"])


def adapter(models: Path, down: torch.Tensor, up: torch.Tensor, said: dict[str, Any] | str) -> None:
    """A UNet's adapter as PEFT saves it."""
    folder = models / "loras" / "mine"
    folder.mkdir(exist_ok=True)
    layer = DIFFUSERS_LORA.replace("unet.", "base_model.model.")
    put(folder / "adapter_model.safetensors", {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up})
    (folder / "adapter_config.json").write_text(said if isinstance(said, str) else json.dumps(said))


def test_the_alpha_of_a_file_beside_an_adapter_counts_and_a_change_of_it_too(
    session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    os.link(checkpoint("sd1_tiny"), models / "checkpoints" / "m.safetensors")
    down, up = torch.randn(4, 32), torch.randn(32, 4)

    def kohya(alpha: float) -> torch.Tensor:
        name = f"{alpha:g}"
        parts = {f"{LORA}.lora_down.weight": down, f"{LORA}.lora_up.weight": up, f"{LORA}.alpha": torch.tensor(alpha)}
        put(models / "loras" / f"{name}.safetensors", parts)
        return run(session, document("m.safetensors", lora=lora_node(name)))[0]

    def peft(**said: Any) -> torch.Tensor:
        adapter(models, down, up, {"peft_type": "LORA", "r": 4, **said})
        return run(session, document("m.safetensors", lora=lora_node("mine/adapter_model")))[0]

    assert torch.equal(peft(lora_alpha=16), kohya(16))
    assert torch.equal(peft(lora_alpha=2), kohya(2))
    assert torch.equal(peft(lora_alpha=8, use_rslora=True), kohya(16))
    assert torch.equal(peft(lora_alpha=1, alpha_pattern={DIFFUSERS_LORA.removeprefix("unet."): 16}), kohya(16))


@pytest.mark.parametrize("said", ["{", '{"lora_alpha": "much"}', '{"alpha_pattern": 3}'])
def test_a_broken_file_beside_an_adapter_is_one_error_that_names_it(
    said: str, session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    os.link(checkpoint("sd1_tiny"), models / "checkpoints" / "m.safetensors")
    adapter(models, torch.randn(4, 32), torch.randn(32, 4), said)
    with pytest.raises(NodeError, match=r"adapter_config\.json"):
        run(session, document("m.safetensors", lora=lora_node("mine/adapter_model")))


# What is not used


def test_tensors_of_a_checkpoint_that_nothing_uses_are_told_once_with_a_count(
    session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    weights = load_file(checkpoint("sd1_tiny"))
    total = len(weights) + 6
    more = {
        f"{UNET}motion.weight": torch.zeros(2, 2),
        f"{UNET}motion.bias": torch.zeros(2),
        "control_model.x.weight": torch.zeros(2),
        "model_ema.decay": torch.zeros(1),
        "optimizer.state": torch.zeros(1),
        "alphas_cumprod": torch.zeros(1000),
    }
    put(models / "checkpoints" / "m.safetensors", {**weights, **more})
    _, told = run(session, document("m.safetensors"))
    assert sorted(message for _, message in told) == [
        f"1 of {total} tensors of m.safetensors is not used, e.g. 'control_model.x.weight'",
        f"2 of {total} tensors of m.safetensors are not used, e.g. '{UNET}motion.bias'",
    ]


def test_layers_of_a_lora_that_the_model_lacks_are_told_with_a_count(
    session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    os.link(checkpoint("sd1_tiny"), models / "checkpoints" / "m.safetensors")
    factors = {"lora_down.weight": torch.randn(2, 32), "lora_up.weight": torch.randn(32, 2)}
    tensors = {f"{layer}.{name}": t.clone() for layer in (LORA, "lora_unet_nowhere") for name, t in factors.items()}
    put(models / "loras" / "l.safetensors", {**tensors, "bundle.weight": torch.zeros(2)})
    _, told = run(session, document("m.safetensors", lora=lora_node("l")))
    assert told == [
        ("sample", "2 of 5 tensors of l.safetensors are not used, e.g. 'lora_unet_nowhere.lora_down.weight'"),
        ("sample", "1 of 5 tensors of l.safetensors is not used, e.g. 'bundle.weight'"),
    ]


@pytest.mark.parametrize("recipe", ["sd1_tiny", "sd2_tiny", "sdxl_tiny"])
def test_whole_checkpoints_of_each_family_leave_nothing_to_tell(
    recipe: str, session: Session, models: Path, checkpoint: Callable[[str], Path]
) -> None:
    os.link(checkpoint(recipe), models / "checkpoints" / "m.safetensors")
    assert run(session, document("m.safetensors"))[1] == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model_ema.diffusion_modelinput_blocks00weight", True),
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", True),
        ("sqrt_one_minus_alphas_cumprod", True),
        ("log_one_minus_alphas_cumprod", True),
        ("first_stage_model.loss.discriminator.main.0.weight", True),
        ("embeddings.weight", False),
        ("input_blocks.0.0.weight_scale", False),
        ("edm_vpred.sigma_max", False),
    ],
)
def test_only_known_names_do_no_harm(name: str, found: bool) -> None:
    assert harmless(name) is found
