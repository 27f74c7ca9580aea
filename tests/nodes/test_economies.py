"""Nodes on a device that has too little memory for all of a batch, or of a picture, at once."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import Event, NodeWarning
from latentloom.engine.files.pictures import encode_png


@contextlib.contextmanager
def room_for(kind: str, most: int, size: Callable[[torch.Tensor], int] = len) -> Iterator[list[int]]:
    """Let modules of a class run out of memory above a size of their input; the sizes that came."""
    came: list[int] = []

    def look(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if type(module).__name__ == kind:
            came.append(size(inputs[0]))
            if came[-1] > most:
                raise torch.OutOfMemoryError("tried to allocate too much")

    hook = register_module_forward_pre_hook(look)
    try:
        yield came
    finally:
        hook.remove()


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


MODEL, CLIP, VAE = (edge("load", name) for name in ("model", "clip", "vae"))
NODES = {
    "load": ("LoadCheckpoint", {"checkpoint": "tiny"}),
    "yes": ("CLIPEncode", {"clip": CLIP, "text": "a red circle"}),
    "no": ("CLIPEncode", {"clip": CLIP, "text": "blue"}),
    "empty": ("EmptyLatent", {"width": 64, "height": 64, "batch": 3}),
}
SAMPLE = {
    "model": MODEL,
    "negative": edge("no", "conditioning"),
    "latent": edge("empty", "latent"),
    "steps": 2,
    "seed": 5,
}
K_SAMPLE = ("KSampler", {**SAMPLE, "positive": edge("yes", "conditioning")})
TEXTS = {"source": "a red circle", "edited": "a blue square", "sampler": "euler", "clip": CLIP}


def run(session: Session, it: tuple[str, Any], output: str, **more: tuple[str, Any]) -> tuple[np.ndarray, list[str]]:
    """What a node gives without using the cache, and the warnings on the way."""
    nodes = {id: {"type": type, "inputs": inputs} for id, (type, inputs) in {**NODES, **more, "it": it}.items()}
    outputs = [{"name": "out", "from": edge("it", output)}]
    job = session.prepare({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})
    warnings: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, NodeWarning) and event.code.startswith("memory"):
            warnings.append(event.code)

    outcome = session.engine.run(job, listen=listen, use_cache=False)
    if outcome.error is not None:
        raise outcome.error
    return outcome.outputs["out"].numpy(), warnings


@pytest.mark.parametrize(
    ("it", "output", "most", "passes"),
    [
        (K_SAMPLE, "latent", 3, [6, 6, 3, 3, 3, 3]),
        (K_SAMPLE, "latent", 1, [6, 6, 3, *[1] * 12]),
        (("PromptToPrompt", {**SAMPLE, **TEXTS}), "edited", 6, [6, 6, 6, 6]),
    ],
)
def test_a_batch_that_is_too_large_is_sampled_in_parts(
    session: Session, it: tuple[str, Any], output: str, most: int, passes: list[int]
) -> None:
    whole, _ = run(session, it, output)
    with room_for("UNet2DConditionModel", most) as came:
        parts, warnings = run(session, it, output)
    assert came == passes
    assert warnings == (["memory_retry"] + ["memory_economy"] * (2 if most == 1 else 1) if most < 6 else [])
    assert np.abs(parts - whole).max() < 1e-4 * np.abs(whole).max()


def test_items_that_something_looks_at_together_are_not_parted(session: Session) -> None:
    watched = ("SelfAttentionGuidance", {"model": MODEL})
    it = ("KSampler", {**K_SAMPLE[1], "model": edge("watched", "model")})
    for node, output, passes in (
        (("PromptToPrompt", {**SAMPLE, **TEXTS}), "edited", [6] * 4),
        (it, "latent", [3] * 4),
    ):
        with room_for("UNet2DConditionModel", 1) as came, pytest.raises(NodeError) as caught:
            run(session, node, output, watched=watched)
        assert (caught.value.code, came) == ("out_of_memory", passes)


def test_a_picture_that_is_too_large_is_decoded_in_tiles(session: Session) -> None:
    empty = ("EmptyLatent", {"width": 1024, "height": 64})
    decode = {"vae": VAE, "latent": edge("empty", "latent")}
    tiled, _ = run(session, ("VAEDecodeTiled", {**decode, "tile": 256, "overlap": 32}), "image", empty=empty)
    with room_for("Decoder", 256 // 8 * 8, lambda z: z.shape[2] * z.shape[3]):
        parts, warnings = run(session, ("VAEDecode", decode), "image", empty=empty)
    assert warnings == ["memory_retry", "memory_economy", "memory_economy"]
    assert np.array_equal(parts, tiled)


def test_a_picture_that_is_too_large_is_encoded_in_tiles(session: Session) -> None:
    session.settings.input.mkdir(parents=True)
    pixels = np.random.default_rng(0).random((64, 1024, 3), np.float32)
    (session.settings.input / "wide.png").write_bytes(encode_png(pixels))
    picture = ("LoadImage", {"image": "wide.png"})
    encode = {"vae": VAE, "image": edge("picture", "image")}
    tiled, _ = run(session, ("VAEEncodeTiled", {**encode, "tile": 512, "overlap": 64}), "latent", picture=picture)
    with room_for("Encoder", 512 * 64, lambda x: x.shape[2] * x.shape[3]):
        parts, warnings = run(session, ("VAEEncode", encode), "latent", picture=picture)
        drawn, _ = run(session, ("VAEEncode", {**encode, "posterior": "sample", "seed": 1}), "latent", picture=picture)
    assert warnings == ["memory_retry", "memory_economy"]
    assert np.array_equal(parts, tiled)
    assert drawn.shape == parts.shape and not np.array_equal(drawn, parts)
