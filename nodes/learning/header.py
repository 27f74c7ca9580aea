"""The header of a trained LoRA: what other programs read (modelspec, kohya's ss_ fields), and what was learnt from."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from latentloom.engine import Model
from latentloom.engine.keys import array_digest
from latentloom.nodes.families.lora.value import BASE
from latentloom.nodes.learning.dataset import Dataset, DatasetCodec

if TYPE_CHECKING:
    from latentloom.nodes.learning.lora import Settings

ARCHITECTURES = {
    "SD 1.x": "stable-diffusion-v1",
    "SD 2.x": "stable-diffusion-v2-512",
    "SDXL": "stable-diffusion-xl-v1-base",
}


def header_of(model: Model, dataset: Dataset, settings: Settings) -> dict[str, str]:
    """Return the header of a LoRA. It has no date: equal trainings give equal files."""
    family, base = str(model.info.get("family", model.model_kind)), model.files[0]
    height, width = dataset.items[0].pixels.shape[:2]
    codec = DatasetCodec()
    digest = array_digest(Dataset.kind, codec.essence(dataset), codec.split(dataset)[1])
    captions = sorted({item.caption for item in dataset.items})
    return {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{ARCHITECTURES.get(family, family)}/lora",
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": f"LoRA for {base.name}",
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.prediction_type": str(model.info["prediction"]),
        "modelspec.trigger_phrase": captions[0][:200],
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(settings.rank),
        "ss_network_alpha": f"{settings.alpha:g}",
        "ss_sd_model_name": base.name,
        "ss_learning_rate": f"{settings.pace.rate:g}",
        "ss_lr_scheduler": settings.pace.schedule,
        "ss_max_train_steps": str(settings.pace.steps),
        "ss_batch_size_per_device": str(settings.batch),
        "ss_min_snr_gamma": f"{settings.gamma:g}",
        "ss_num_train_images": str(len(dataset)),
        "ss_seed": str(settings.seed),
        BASE: base.sha256,
        "latentloom.dataset": digest,
        "latentloom.version": version("latentloom"),
    }
