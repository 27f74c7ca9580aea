"""The VAE of Qwen-Image in tiles, beside the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import load_file
from tiny_transformers import write

from latentloom.api import Session

SIDE = 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def found(
    session: Session, tile: int = 0, overlap: int = 0, file: str = "qwen_image_vae.safetensors"
) -> tuple[np.ndarray, np.ndarray]:
    """The latent of a picture, and the picture of a whole latent; both in tiles unless `tile` is 0."""
    vae, size = wire("vae", "vae"), {"tile": tile, "overlap": overlap} if tile else {}
    tiled = "Tiled" if tile else ""
    nodes: dict[str, Any] = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "qwen_image.safetensors"}},
        "vae": {"type": "LoadVAE", "inputs": {"vae": file, "model": wire("unet", "model")}},
        "picture": {"type": "LoadImage", "inputs": {"image": "smooth.png"}},
        "whole": {"type": "VAEEncode", "inputs": {"vae": vae, "image": wire("picture", "image")}},
        "encode": {"type": f"VAEEncode{tiled}", "inputs": {"vae": vae, "image": wire("picture", "image"), **size}},
        "decode": {"type": f"VAEDecode{tiled}", "inputs": {"vae": vae, "latent": wire("whole", "latent"), **size}},
    }
    outputs = [{"name": "latent", "from": wire("encode", "latent")}, {"name": "image", "from": wire("decode", "image")}]
    made = session.run({"format": "latentloom/1", "name": "tiles", "nodes": nodes, "outputs": outputs})
    return made["latent"].numpy(), made["image"].numpy()


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> None:
    small = Picture.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    small.resize((SIDE, SIDE), Picture.Resampling.BICUBIC).save(tmp_path / "smooth.png")


def test_a_tile_that_holds_all_is_the_whole_bit_for_bit(session: Session) -> None:
    for tiled, whole in zip(found(session, SIDE, 64), found(session), strict=True):
        assert np.array_equal(tiled, whole)


def test_tiles_come_near_to_the_whole_and_nearer_when_they_overlap_more(session: Session) -> None:
    for whole, wide, narrow in zip(found(session), found(session, 64, 32), found(session, 64, 0), strict=True):
        near, far = (np.abs(tiled - whole).mean() / whole.std() for tiled in (wide, narrow))
        assert near < far and near < 0.3, (near, far)


def test_a_vae_in_fp8_is_its_numbers(session: Session, qwen_models: Path) -> None:
    folder = qwen_models / "vae"
    state = {
        name: tensor.to(torch.float8_e4m3fn)
        for name, tensor in load_file(folder / "qwen_image_vae.safetensors").items()
    }
    write(state, folder / "packed.safetensors")
    write({name: tensor.float() for name, tensor in state.items()}, folder / "plain.safetensors")
    packed, plain = (found(session, file=f"{name}.safetensors") for name in ("packed", "plain"))
    for name in ("packed", "plain"):
        (folder / f"{name}.safetensors").unlink()
    assert all(np.array_equal(one, other) for one, other in zip(packed, plain, strict=True))
