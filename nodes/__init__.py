"""The built-in nodes. They are registered through the same hook as the nodes of plugins."""

from importlib import import_module

from latentloom.engine.types.registry import Registration
from latentloom.engine.types.values import (
    Clip,
    ClipVision,
    Conditioning,
    ControlNet,
    Image,
    Latent,
    Mask,
    Model,
    Vae,
    Value,
)
from latentloom.nodes.families.lora.value import Lora
from latentloom.nodes.learning.dataset import Dataset, DatasetCodec
from latentloom.plugins import hookimpl

_TYPES: tuple[tuple[type[Value], str, str], ...] = (
    (Image, "#5b9bd5", "Images: a batch of one size, RGB or RGBA."),
    (Mask, "#7fb069", "Masks: 1 is repainted, 0 is kept."),
    (Latent, "#c77dbb", "Images in the latent space of a model, which a VAE decodes."),
    (Conditioning, "#e0a458", "Encoded prompts, and where and when they apply."),
    (Model, "#8d7ae6", "A denoising network (UNet), not yet loaded, with its patches."),
    (Clip, "#d9c34a", "A text encoder with its tokenizer."),
    (ClipVision, "#c9a27c", "A CLIP image encoder for IP-Adapters."),
    (Vae, "#d96666", "Encodes images to latents and decodes latents to images."),
    (ControlNet, "#4fb3a5", "A network that guides a denoising network by a control image."),
)

_MODULES = (
    *("loaders", "lora", "merge", "ip_adapter"),
    *("conditioning", "conditioning_pictures", "conditioning_combine", "conditioning_style", "controlnet", "guidance"),
    *(
        "latents",
        "latents_batch",
        "latents_composite",
        "noise",
        "sampling",
        "sampling_custom",
        "sampling_model",
        "sampling_prompt_to_prompt",
    ),
    *("vae", "vae_precision"),
    *("inpaint", "inpaint_conditioning", "inpaint_detail", "inpaint_fill", "mask", "mask_draw", "mask_image"),
    *(
        "image",
        "image_batch",
        "image_composite",
        "image_grid",
        "image_size",
        "image_alpha",
        "preprocessors",
        "upscale",
        "primitives",
        "primitives_maths",
        "primitives_text",
        "lists",
        "study",
    ),
    *("dataset", "training", "measure"),
)
"""The modules of the nodes, in the order in which lists show them."""


@hookimpl
def register(registry: Registration) -> None:
    """Register the built-in port types, node types, samplers, schedules, patches, model kinds and models."""
    from latentloom.nodes.diffusion.patches import register_patches
    from latentloom.nodes.diffusion.samplers import register_samplers

    for cls, colour, help in _TYPES:
        registry.type(cls, colour=colour, help=help)
    registry.type(Lora, colour="#b98fd6", help="A change to a model and its text encoder (LoRA), saved or not.")
    registry.type(
        Dataset,
        DatasetCodec,
        colour="#9aa3ad",
        help="Pictures with captions, which a model can be trained on.",
    )
    for name in _MODULES:
        registry.node(*import_module(f"latentloom.nodes.{name}").NODES)
    register_samplers(registry)
    register_patches(registry)
    registry.model_kind("diffusers", "latentloom.nodes.families.stable_diffusion.diffusers_folder:DiffusersFolder")
    registry.model_kind("dit", "latentloom.nodes.families.dit:DiT")
    registry.model_kind("flux_controlnet", "latentloom.nodes.families.controlnet.flux:FluxControl")
    registry.model_kind("sd3_controlnet", "latentloom.nodes.families.controlnet.sd3:SD3Control")
    registry.model_kind("qwen_image_controlnet", "latentloom.nodes.families.controlnet.qwen_image:QwenImageControl")
    registry.model_kind("z_image_controlnet", "latentloom.nodes.families.controlnet.z_image:ZImageControl")
    registry.model_kind("z_image", "latentloom.nodes.families.z_image:ZImage")
    registry.model_kind("chroma", "latentloom.nodes.families.chroma:Chroma")
    registry.model_kind("flux", "latentloom.nodes.families.flux:Flux")
    registry.model_kind("flux2", "latentloom.nodes.families.flux2:Flux2")
    registry.model_kind("flux2_vae", "latentloom.nodes.families.flux2_vae:Flux2Vae")
    registry.model_kind("sd3", "latentloom.nodes.families.sd3:SD3")
    registry.model_kind("qwen_image", "latentloom.nodes.families.qwen_image:QwenImage")
    registry.model_kind("krea2", "latentloom.nodes.families.krea2:Krea2")
    registry.model_kind("qwen_image21", "latentloom.nodes.families.qwen_image21:QwenImage21")
    registry.model_kind("qwen_image21_vae", "latentloom.nodes.families.qwen_image21_vae:QwenImage21Vae")
    registry.model_kind("wan_vae", "latentloom.nodes.families.wan_vae:WanVae")
    registry.model_kind("single_file", "latentloom.nodes.families.stable_diffusion.single_file:SingleFile")
    registry.model_kind("text_encoder", "latentloom.nodes.families.text_encoder:TextEncoderFile")
    registry.model_kind("controlnet", "latentloom.nodes.families.controlnet.kind:ControlNetKind")
    registry.model_kind("t2i_adapter", "latentloom.nodes.families.controlnet.t2i_adapter:T2IAdapterKind")
    registry.model_kind("ip_adapter", "latentloom.nodes.families.ip_adapter.kind:IPAdapterKind")
    registry.model_kind("siglip_vision", "latentloom.nodes.families.clip_vision.siglip:SiglipVisionKind")
    registry.model_kind("redux", "latentloom.nodes.families.redux:ReduxKind")
    registry.model_kind("clip_vision", "latentloom.nodes.families.clip_vision.kind:ClipVisionKind")
    registry.model_kind("lora", "latentloom.nodes.families.lora.kind:LoraFile")
    registry.model_kind("embedding", "latentloom.nodes.families.textual_inversion.kind:EmbeddingFile")
    registry.model_kind("upscaler", "latentloom.nodes.families.upscale.kind:UpscalerKind")
    registry.model_kind("spandrel", "latentloom.nodes.families.upscale.spandrel:OtherUpscalerKind")
    registry.model_kind("known_network", "latentloom.nodes.families.known_network:KnownNetwork")
    registry.patch("lora", "latentloom.nodes.families.lora.patch:apply_loras", together=True)
    registry.patch("merge", "latentloom.nodes.families.merge:apply_merge")
    registry.patch("precision", "latentloom.nodes.families.precision:apply_precision")
    registry.models("models/checkpoints", "latentloom.nodes", "embedded/checkpoints")
    registry.models("datasets", "latentloom.nodes", "embedded/datasets")
    registry.models("models/controlnet", "latentloom.nodes", "embedded/controlnet")
