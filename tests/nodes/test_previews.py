"""Previews by a linear map from latents to colours."""

import os
from types import SimpleNamespace

import pytest
import torch
from drawings import edge, workflow

from latentloom.api import Session
from latentloom.engine import Model
from latentloom.engine.events import NodePreview
from latentloom.engine.files.model_files import FileIdentity
from latentloom.engine.files.preview_maps import MOST, PreviewMaps
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.preview import PreviewMap, fitted, map_for, pictures


@pytest.fixture
def session(tmp_path):
    """A session in an empty home, in fp32 on the CPU."""
    settings = load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    with Session(settings) as made:
        yield made


def flow(seed: int, **sampler):
    """Text to image with the network of shapes' file alone: its VAE is not known to the sampler."""
    nodes = {
        "load": ("LoadCheckpoint", {"checkpoint": "shapes"}),
        "unet": ("LoadUNet", {"unet": "shapes"}),
        "text": ("CLIPEncode", {"clip": edge("load", "clip"), "text": "a red circle"}),
        "empty": ("EmptyLatent", {"width": 128, "height": 128}),
    }
    given = {"model": edge("unet", "model"), "latent": edge("empty", "latent"), "steps": 10, "cfg": 1, "seed": seed}
    texts = dict.fromkeys(("positive", "negative"), edge("text", "conditioning"))
    nodes["sample"] = ("KSampler", {**given, **texts, **sampler})
    nodes["decode"] = ("VAEDecode", {"vae": edge("load", "vae"), "latent": edge("sample", "latent")})
    return workflow(nodes, picture=edge("decode"), latent=edge("sample", "latent"))


def watched(session: Session, document):
    """The previews of the sampler, and the outputs."""
    stream = session.stream(document)
    shown = [event.image for event in stream if isinstance(event, NodePreview) and event.node == "sample"]
    return shown, stream.result()


def kept(session: Session) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (session.engine.settings.data / "previews").glob("*")}


def cells(picture) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(torch.tensor(picture.numpy()).movedim(-1, 1), 16)


def test_the_second_picture_of_a_vae_has_previews_near_the_result(session):
    first, _ = watched(session, flow(1))
    assert not first
    was = kept(session)
    assert len(was) == 1
    shown, made = watched(session, flow(2))
    assert {image.shape for image in shown} == {(1, 64, 64, 3)}
    [(_, found)] = session.engine.preview_maps.newest()
    known = PreviewMap(torch.tensor(found["weights"]), found["deviation"])
    seen, expected = cells(known.picture(made["latent"].tensor(), 8)), cells(made["picture"])
    assert float((seen - expected).square().mean().sqrt()) < min(0.1, 0.5 * float(expected.std()))
    assert kept(session) == was  # not fitted again


def test_the_same_vae_gives_the_same_map_and_a_damaged_one_is_fitted_again(session):
    watched(session, flow(1, steps=2))
    [(name, was)] = kept(session).items()
    (session.engine.settings.data / "previews" / name).write_bytes(was[:40])
    shown, _ = watched(session, flow(2, steps=2))
    assert not shown
    assert kept(session) == {name: was}


def test_nothing_is_fitted_without_previews_or_where_the_vae_itself_makes_them(session):
    session.run(flow(1, steps=2))
    shown, _ = watched(session, flow(2, steps=2, model=edge("load", "model")))
    assert shown[0].shape == (1, 128, 128, 3)
    assert not kept(session)


def test_a_folder_that_cannot_be_written_to_costs_the_previews_only(session):
    session.engine.settings.data.mkdir(parents=True, exist_ok=True)
    (session.engine.settings.data / "previews").write_bytes(b"a file")
    assert watched(session, flow(1, steps=2))[1]["picture"].shape == (1, 128, 128, 3)


@pytest.mark.parametrize(("channels", "downscale"), [(4, 8), (16, 8), (128, 16)])
def test_a_linear_code_of_any_number_of_channels_is_read_back(channels, downscale):
    """Latents that are colours mixed into more channels, with noise in the others, as a VAE's details are."""
    drawn = torch.Generator().manual_seed(1)
    side = 128 // downscale
    colours = torch.nn.functional.adaptive_avg_pool2d(pictures(), side)
    mixing = torch.randn(3, channels, generator=drawn)
    flat = colours.movedim(1, -1).flatten(0, 2)
    latents = flat @ mixing + 3 + 0.01 * torch.randn(len(flat), channels, generator=drawn)
    found = fitted(latents, flat)
    latent = latents.view(len(colours), side, side, channels).movedim(-1, 1)
    shown = found.picture(latent[:1], downscale)
    assert shown.shape == (1, 64, 64, 3)
    read = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(shown.numpy()).movedim(-1, 1), side)
    smooth = torch.nn.functional.interpolate(colours[:1], 64, mode="bilinear")
    expected = torch.nn.functional.adaptive_avg_pool2d(smooth, side)
    assert float((read - expected).abs().max()) < 0.05
    assert torch.equal(found.weights, fitted(latents, flat).weights)


def test_latents_that_are_not_finite_have_no_map():
    assert fitted(torch.full((8, 4), torch.nan), torch.rand(8, 3)) is None


def record(latents="16 channels", deviation=1.0, level=0.0, channels=16):
    return {"latents": latents, "deviation": deviation, "weights": [[0.0] * 3] * channels + [[level] * 3]}


def test_a_model_takes_its_own_vae_then_the_one_of_its_scale_then_the_last_used(tmp_path):
    maps = PreviewMaps(tmp_path)

    def level(scale, channels=16, **more):
        info = {"channels": channels, "scaling_factor": scale, **more}
        found = map_for(SimpleNamespace(preview_maps=maps), Model("x", [FileIdentity("m", "own")], info))
        return None if found is None else round(float(found.weights[-1, 0]), 3)

    assert level(1.0) is None
    maps.put("small", record(deviation=0.65, level=0.1))
    maps.put("large", record(deviation=2.8, level=0.2))
    maps.put("wan", record("16 channels of Qwen-Image and Wan", level=0.3))
    maps.put("empty", {**record(), "weights": None})
    assert (level(1.53), level(0.36)) == (0.1, 0.2)
    assert (level([1.0] * 16, latents="wan"), level(1.0, channels=4)) == (0.3, None)
    maps.put("larger", record(deviation=2.9, level=0.4))
    age(tmp_path, "larger")
    assert level(0.36) == 0.2
    age(tmp_path, "large", "small")
    assert maps.use("larger")
    assert level(0.36) == 0.4
    maps.put("own", record(deviation=99.0, level=0.5))
    assert level(0.36) == 0.5


def age(folder, *names):
    for name in names:
        os.utime(folder / f"{name}.json", (1, 1))


def test_the_least_recently_used_records_are_removed(tmp_path):
    maps = PreviewMaps(tmp_path)
    for number in range(MOST):
        maps.put(str(number), {})
    age(tmp_path, "7")
    maps.put("new", {})
    assert {sha256 for sha256, _ in maps.newest()} == {"new", *map(str, range(MOST))} - {"7"}
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".json"]


def test_a_damaged_record_is_absent(tmp_path):
    maps = PreviewMaps(tmp_path)
    maps.put("a", {"x": 1})
    for content in (b"", b"[]", b"{", b"\xff"):
        (tmp_path / "b.json").write_bytes(content)
        assert not maps.use("b")
        assert list(maps.newest()) == [("a", {"x": 1})]
