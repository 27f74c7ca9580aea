"""Large pictures in tiles, and pictures without edges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeProgress
from latentloom.engine.files.pictures import encode_png
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.diffusion.seamless import Axes, circular
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def run(
    session: Session, nodes: dict[str, tuple[str, dict[str, Any]]], node: str, output: str, **how: Any
) -> np.ndarray:
    document = {
        "format": "latentloom/1",
        "nodes": {id: {"type": type, "inputs": inputs} for id, (type, inputs) in nodes.items()},
        "outputs": [{"name": "out", "from": edge(node, output)}],
    }
    found: np.ndarray = session.run(document, **how)["out"].numpy()
    return found


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session with a picture of 256x192 pixels, smooth noise, in its input folder."""
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        made.settings.input.mkdir(parents=True)
        from PIL import Image

        small = Image.fromarray(np.random.default_rng(0).integers(40, 215, (12, 16, 3), np.uint8))
        large = np.asarray(small.resize((256, 192), Image.Resampling.BICUBIC), np.float32) / 255
        (made.settings.input / "picture.png").write_bytes(encode_png(large))
        yield made


LOAD = {"load": ("LoadCheckpoint", {"checkpoint": "shapes"}), "picture": ("LoadImage", {"image": "picture.png"})}
VAE, PICTURE = edge("load", "vae"), edge("picture", "image")


def test_tiles_that_overlap_too_far_are_refused(shapes: Session) -> None:
    nodes = {**LOAD, "it": ("VAEEncodeTiled", {"vae": VAE, "image": PICTURE, "tile": 64, "overlap": 40})}
    with pytest.raises(NodeError) as caught:
        run(shapes, nodes, "it", "latent")
    assert str(caught.value) == (
        "node 'it': VAEEncodeTiled: the tiles overlap too far (expected at most 32, half a tile, got 40)"
    )


def coded(session: Session, tile: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture's latent in tiles, and a whole latent decoded in tiles."""
    nodes: dict[str, Any] = {
        **LOAD,
        "whole": ("VAEEncode", {"vae": VAE, "image": PICTURE}),
        "tiled": ("VAEEncodeTiled", {"vae": VAE, "image": PICTURE, "tile": tile, "overlap": overlap}),
        "decode": ("VAEDecodeTiled", {"vae": VAE, "latent": edge("whole", "latent"), "tile": tile, "overlap": overlap}),
    }
    return run(session, nodes, "tiled", "latent"), run(session, nodes, "decode", "image")


def test_a_tile_that_holds_all_is_the_untiled_vae_bit_for_bit(shapes: Session) -> None:
    whole: dict[str, Any] = {**LOAD, "it": ("VAEEncode", {"vae": VAE, "image": PICTURE})}
    whole["back"] = ("VAEDecode", {"vae": VAE, "latent": edge("it", "latent")})
    latent, image = coded(shapes, 256, 64)
    assert np.array_equal(latent, run(shapes, whole, "it", "latent"))
    assert np.array_equal(image, run(shapes, whole, "back", "image"))


def test_tiles_come_near_to_the_whole_and_nearer_when_they_overlap_more(shapes: Session) -> None:
    (latent, image), (some_latent, some), (none_latent, none) = (
        coded(shapes, *t) for t in ((256, 64), (128, 64), (128, 0))
    )
    spread = latent.std()
    assert np.abs(some_latent - latent).mean() < 0.1 * spread
    assert np.abs(some - image).mean() < 0.03
    assert np.abs(some - image).mean() < np.abs(none - image).mean()
    assert np.abs(some_latent - latent).mean() < np.abs(none_latent - latent).mean()


def test_decoding_tells_its_progress_by_tiles(shapes: Session) -> None:
    events: list[Any] = []
    nodes = {
        **LOAD,
        "empty": ("EmptyLatent", {"width": 192, "height": 128, "batch": 2}),
        "it": ("VAEDecodeTiled", {"vae": VAE, "latent": edge("empty", "latent"), "tile": 128, "overlap": 32}),
    }
    run(shapes, nodes, "it", "image", on_event=events.append)
    assert [(e.step, e.total) for e in events if isinstance(e, NodeProgress)] == [(n, 4) for n in range(1, 5)]


# On a random UNet

TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "load": ("LoadCheckpoint", {"checkpoint": "tiny"}),
    "text": ("CLIPEncode", {"clip": edge("load", "clip"), "text": "a red circle"}),
    "empty": ("EmptyLatent", {"width": 128, "height": 64}),
    "noise": ("Noise", {"latent": edge("empty", "latent"), "seed": 5}),
}
SAMPLE = {
    "positive": edge("text", "conditioning"),
    "negative": edge("text", "conditioning"),
    "latent": edge("empty", "latent"),
    "noise": edge("noise", "latent"),
    "steps": 3,
    "cfg": 1.0,
}


def test_one_tile_is_the_untiled_model_and_more_are_another(session: Session) -> None:
    nodes: dict[str, Any] = {**TINY, "plain": ("KSampler", {**SAMPLE, "model": edge("load", "model")})}
    for tile in (128, 64):
        nodes[f"model{tile}"] = ("TiledDiffusion", {"model": edge("load", "model"), "tile": tile, "overlap": 32})
        nodes[f"tile{tile}"] = ("KSampler", {**SAMPLE, "model": edge(f"model{tile}", "model"), "cfg": 1.0})
    plain, one, many = (run(session, nodes, id, "latent") for id in ("plain", "tile128", "tile64"))
    assert np.array_equal(one, plain)
    assert np.isfinite(many).all()
    assert np.abs(many - plain).max() > 1e-3


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("component", ["unet", "vae"])
def test_without_seams_a_shifted_input_gives_the_shifted_output(
    tiny_models: Path, component: str, horizontal: bool, vertical: bool
) -> None:
    """Whatever an edge does to a picture would stay at the edge."""
    module = DiffusersFolder().load([tiny_models / "checkpoints" / "tiny"], {"component": component})
    context, x = torch.randn(1, 32, 32), first_noise((1, 4, 8, 16), 1)

    @torch.no_grad()
    def call(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = module(x, 500, context).sample if component == "unet" else module.decode(x).sample
        return found

    def follows(shift: tuple[int, int]) -> bool:
        moved = [side * (1 if component == "unet" else 8) for side in shift]
        return torch.allclose(call(x.roll(shift, (2, 3))), call(x).roll(moved, (2, 3)), atol=1e-4)

    plain = call(x)
    with circular([module]) as ring, ring.on(Axes(horizontal, vertical)):
        assert [follows((4, 0)), follows((0, 8))] == [vertical, horizontal]
    assert torch.equal(call(x), plain)


def test_a_seamless_model_is_sampled_and_decoded_without_seams(session: Session) -> None:
    pair = {"model": edge("load", "model"), "vae": edge("load", "vae")}
    nodes: dict[str, Any] = {**TINY, "pair": ("Seamless", pair)}
    for name, source in (("plain", "load"), ("seamless", "pair")):
        nodes[name] = ("KSampler", {**SAMPLE, "model": edge(source, "model")})
        nodes[f"{name}_image"] = ("VAEDecode", {"vae": edge(source, "vae"), "latent": edge("plain", "latent")})
    assert np.abs(run(session, nodes, "plain", "latent") - run(session, nodes, "seamless", "latent")).max() > 1e-3
    change = np.abs(run(session, nodes, "plain_image", "image") - run(session, nodes, "seamless_image", "image"))
    assert change[:, :4].mean() > 2 * change[:, 30:34, 60:68].mean()


def test_nothing_seamless_is_refused(session: Session) -> None:
    pair = {"model": edge("load", "model"), "vae": edge("load", "vae"), "horizontal": False, "vertical": False}
    with pytest.raises(NodeError, match=r"nothing is seamless \(expected horizontal, vertical or both, got neither\)"):
        run(session, {**TINY, "pair": ("Seamless", pair)}, "pair", "model")
