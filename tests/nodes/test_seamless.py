"""Pictures without edges: whatever goes round, moved around the edge, moves what comes out, and changes nothing else.

A run is made whole from a picture: it is encoded, its latent stands in for the noise, and what is sampled is decoded.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentloom.api import Session
from latentloom.engine.files.pictures import encode_png

SIDE, STEP = 128, 16  # STEP: pixels of a cell at the network's coarsest level
PROPERTY = settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A smooth picture that goes round."""
    noise = np.fft.rfft2(np.random.default_rng(0).normal(size=(3, SIDE, SIDE)))
    places = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    smooth = np.fft.irfft2(noise * np.exp(-((places * 24) ** 2)), (SIDE, SIDE)).transpose(1, 2, 0)
    return (0.5 + 0.15 * smooth / smooth.std()).clip(0, 1).astype(np.float32)


def rolled(session: Session, pixels: np.ndarray, shift: tuple[int, int]) -> str:
    """The name of the picture, moved around its edges, among the inputs."""
    name = f"{shift[0]}_{shift[1]}.png"
    (Path(session.settings.input) / name).write_bytes(encode_png(np.roll(pixels, shift, (0, 1))))
    return name


def run(session: Session, picture: str, nodes: dict[str, Any], node: str, output: str, **axes: bool) -> np.ndarray:
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("LoadCheckpoint", {"checkpoint": "sd1_tiny.safetensors"}),
        "picture": ("LoadImage", {"image": picture}),
        "pair": ("Seamless", {"model": edge("load", "model"), "vae": edge("load", "vae"), **axes}),
        "encode": ("VAEEncode", {"vae": edge("pair", "vae"), "image": edge("picture", "image")}),
        **nodes,
    }
    document = {
        "format": "latentloom/1",
        "nodes": {id: {"type": type, "inputs": inputs} for id, (type, inputs) in made.items()},
        "outputs": [{"name": "out", "from": edge(node, output)}],
    }
    found: np.ndarray = session.run(document)["out"].numpy()
    return found


def sampled(model: str = "pair", **inputs: Any) -> dict[str, Any]:
    clip = edge("load", "clip")
    ends = {name: edge(name, "conditioning") for name in ("positive", "negative")}
    more = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler": "euler"}
    wires = {"model": edge(model, "model"), "latent": edge("empty", "latent"), "noise": edge("encode", "latent")}
    return {
        "positive": ("CLIPEncode", {"clip": clip, "text": "a red fox"}),
        "negative": ("CLIPEncode", {"clip": clip, "text": "blurry"}),
        "empty": ("EmptyLatent", {"width": SIDE, "height": SIDE}),
        "sample": ("KSampler", {**wires, **ends, **more, **inputs}),
    }


TILED = ("TiledDiffusion", {"model": edge("pair", "model"), "tile": 64, "overlap": 32})
CONTROL = {
    "net": ("LoadControlNet", {"controlnet": "tiny.safetensors"}),
    "control": (
        "ApplyControlNet",
        {
            **{name: edge(name, "conditioning") for name in ("positive", "negative")},
            "controlnet": edge("net", "controlnet"),
            "image": edge("picture", "image"),
        },
    ),
}
CONTROLLED = {name: edge("control", name) for name in ("positive", "negative")}
DECODE = {"vae": edge("pair", "vae"), "latent": edge("sample", "latent")}
TILES = {"tile": 64, "overlap": 32}
PATHS: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "encoded": ({}, "encode", "latent", 8),
    "encoded in tiles": (
        {"it": ("VAEEncodeTiled", {"vae": edge("pair", "vae"), "image": edge("picture", "image"), **TILES})},
        *("it", "latent", 8),
    ),
    "sampled": (sampled(), "sample", "latent", 8),
    "decoded": ({**sampled(), "it": ("VAEDecode", DECODE)}, "it", "image", 1),
    "decoded in tiles": ({**sampled(), "it": ("VAEDecodeTiled", {**DECODE, **TILES})}, "it", "image", 1),
    "sampled in tiles": ({**sampled("tiled"), "tiled": TILED}, "sample", "latent", 8),
    "sampled in tiles, made seamless behind them": (
        {
            **sampled("behind"),
            "tiled": ("TiledDiffusion", {**TILED[1], "model": edge("load", "model")}),
            "behind": ("Seamless", {"model": edge("tiled", "model"), "vae": edge("load", "vae")}),
        },
        *("sample", "latent", 8),
    ),
    "with a ControlNet": ({**sampled(**CONTROLLED), **CONTROL}, "sample", "latent", 8),
    "with a ControlNet, in tiles": (
        {**sampled("tiled", **CONTROLLED), **CONTROL, "tiled": TILED},
        *("sample", "latent", 8),
    ),
    "with attention guidance": (
        {**sampled("guided"), "guided": ("SelfAttentionGuidance", {"model": edge("pair", "model")})},
        *("sample", "latent", 8),
    ),
}


def difference(found: np.ndarray, known: np.ndarray) -> float:
    return float(np.linalg.norm(found - known) / np.linalg.norm(known - known.mean()))


@pytest.mark.parametrize("path", PATHS)
@PROPERTY
@given(down=st.integers(0, 3), across=st.integers(0, 3))
def test_a_picture_moved_around_its_edges_is_made_moved(
    families: Session, pixels: np.ndarray, path: str, down: int, across: int
) -> None:
    """By whole strides of the tiles, which lie as they did: to rounding."""
    nodes, node, output, scale = PATHS[path]
    shift = (32 * down, 32 * across)
    still, moved = (run(families, rolled(families, pixels, by), nodes, node, output) for by in ((0, 0), shift))
    space = (2, 3) if output == "latent" else (1, 2)
    assert difference(moved, np.roll(still, [side // scale for side in shift], space)) < 1e-4
