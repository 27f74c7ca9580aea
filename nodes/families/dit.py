"""Small diffusion transformers (Peebles & Xie 2022) trained by flow matching, with a CLIP as text encoder.

The network is PixArt's (Chen et al. 2023) without its projection of captions. `shapes-flow`, which ships, is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import FileError
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.folder import read_json
from latentloom.nodes.families.header import Shapes
from latentloom.nodes.families.stable_diffusion.diffusers_folder import (
    folder_bytes,
    folder_prompt_reader,
    load_text,
    text_facts,
)
from latentloom.nodes.families.stable_diffusion.facts import SMALL_BYTES
from latentloom.nodes.families.tokenizers import EncoderTokenizer
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.tokenizer_files import TokenizerFiles

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond
    from latentloom.nodes.families.denoiser import Told


class DiT(Family):
    """A folder in diffusers' layout: transformer/, vae/, text_encoder/, tokenizer/ and scheduler/."""

    name, title, module = "dit", "DiT with a CLIP", "diffusers:PixArtTransformer2DModel"
    reads, vae = "the CLIP of its folder", "the VAE of its folder"
    texts: ClassVar = {"text_encoder": "l"}
    needs, tokenizer = ("l",), ("l", EncoderTokenizer(TokenizerFiles("BPE", ("tokenizer",))))

    def matches(self, shapes: Shapes) -> bool:  # noqa: ARG002
        """Return False: a file alone does not say how its network was trained."""
        return False

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return facts by component; None for a PixArt that was trained otherwise."""
        if not path.is_dir() or not (path / "scheduler" / "scheduler_config.json").is_file():
            return None
        scheduler = read_json(path / "scheduler" / "scheduler_config.json").get("_class_name", "")
        found = super().recognise(path) if scheduler.startswith("FlowMatch") else None
        if found is None:
            return None
        more = {"scaling_factor": read_json(path / "vae" / "config.json")["scaling_factor"]}
        more["preview"] = folder_bytes(path / "vae") < SMALL_BYTES
        return {**found, "unet": {**found["unet"], **more}}

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Raise FileError: only a folder has the configuration."""
        raise FileError(f"a {self.title} is read from a folder in diffusers' layout", got=f"{len(shapes)} weights")

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts. The scale of the latents and the shift are in other files of the folder."""
        return {
            "channels": config["in_channels"],
            "size": config["sample_size"],
            "downscale": 8,
            "context": config["cross_attention_dim"],
            "shift": {"shift": 1.0},
            "defaults": {"steps": 20, "cfg": 2.0, "sampler": "euler", "schedule": "simple"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Return the tensors: their names are diffusers'."""
        return tensors

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of the folder's CLIP."""
        return {**text_facts(_whole(paths)), "family": self.name}

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> TextEncoder:  # noqa: ARG002
        """Return a reader of the CLIP's last layer, in chunks of its length."""
        return load_text(_whole(paths))

    def prompt_reader(self, path: Path, _info: Mapping[str, Any]) -> Any:
        """Return a PromptReader with the CLIP's vocabulary."""
        return folder_prompt_reader(path)

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Return the token states as "context": attention has no positions for them, so they may be repeated."""
        return {"context": told.put(entry.embedding.tensor())}

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with 1000 sigma as its time; it predicts the velocity."""
        found: Tensor = module(
            hidden_states=x, timestep=sigma * 1000, encoder_hidden_states=condition["context"], return_dict=False
        )[0]
        return found


def _whole(paths: Sequence[Path]) -> Path:
    """Return the folder of the whole model, of that folder or of its text_encoder/."""
    return paths[0].parent if paths[0].name == "text_encoder" else paths[0]
