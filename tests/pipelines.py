"""Whole trajectories beside diffusers' pipelines: the same weights, prompts, noise and sigmas on both sides."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from torch import Tensor

from latentloom.api import Session
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile

PROMPT, NEGATIVE, CFG, STEPS, SEED, SIDE = "a red fox in a wood", "blurry", 5.0, 4, 11, 64


def scheduler() -> EulerDiscreteScheduler:
    """Euler at whole timesteps, so that both sides call the network alike."""
    made = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    )
    made.set_timesteps(STEPS)
    return made


def ddim() -> DDIMScheduler:
    """The same steps in the variance-preserving form, for pipelines that need it: without noise DDIM is Euler."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def pipeline(cls: Any, checkpoint: Path, **parts: Any) -> Any:
    """A diffusers pipeline of SD 1.x over the weights of a single file."""
    unet, vae, clip = (SingleFile().load([checkpoint], {"component": part}) for part in ("unet", "vae", "clip"))
    known = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False, **parts}
    made = cls(
        vae=vae,
        text_encoder=clip.encoders[0].model,
        tokenizer=clip.encoders[0].tokenizer,
        unet=unet,
        **{"scheduler": scheduler(), **known},
    )
    made.set_progress_bar_config(disable=True)
    return made


def expected(pipe: Any, **call: Any) -> Tensor:
    """The scaled latent that a pipeline ends with."""
    noise, levels = first_noise((1, 4, SIDE // 8, SIDE // 8), SEED), scheduler()
    start = noise * float(levels.sigmas[0]) / float((levels.sigmas[0] ** 2 + 1) ** 0.5)  # both schedulers' own form
    shared = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": CFG, "num_inference_steps": STEPS}
    with torch.no_grad():
        found: Tensor = pipe(**{**shared, "latents": start, "output_type": "latent", **call}).images
    return found


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(checkpoint: str, nodes: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    """Text to image along the same sigmas; `inputs` replace those of the sampler "sample"."""
    made: dict[str, Any] = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": checkpoint}},
        "positive": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
    }
    sampler = {
        "model": wire("load", "model"),
        "positive": wire("positive", "conditioning"),
        "negative": wire("negative", "conditioning"),
        "latent": wire("empty", "latent"),
        "sigmas": scheduler().sigmas.tolist(),
        "sampler": "euler",
        "cfg": CFG,
        "seed": SEED,
    }
    made |= {**(nodes or {}), "sample": {"type": "SampleCustom", "inputs": {**sampler, **inputs}}}
    return {"format": "latentloom/1", "nodes": made, "outputs": [{"name": "out", "from": wire("sample", "latent")}]}


def latent(session: Session, nodes: dict[str, Any], scale: float = 0.18215) -> Tensor:
    """The scaled latent that a document ends with."""
    return torch.tensor(session.run(nodes)["out"].numpy()) * scale


def distance(found: Any, known: Any) -> float:
    return float((found - known).norm() / known.norm())
