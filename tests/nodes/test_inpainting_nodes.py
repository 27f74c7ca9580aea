"""Inpainting, outpainting and instructions: what is masked, cut, put back, and told to the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.api import Session
from latentloom.engine import Image, Latent, Mask
from latentloom.engine.errors import BadValueError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.latent_mask import cells_of
from latentloom.nodes.inpaint import inpaint_crop, inpaint_stitch, outpaint_pad
from latentloom.nodes.inpaint_fill import inpaint_fill
from latentloom.nodes.latents import set_latent_mask
from latentloom.nodes.mask import mask_combine, mask_feather, mask_grow
from latentloom.nodes.mask_draw import mask_rectangle


def picture(height: int = 48, width: int = 64, batch: int = 1) -> Image:
    return Image(np.random.default_rng(0).random((batch, height, width, 3), np.float32))


def box(height: int = 48, width: int = 64, x: int = 16, y: int = 8, wide: int = 24, high: int = 16) -> Mask:
    return mask_rectangle(width, height, x, y, wide, high)


def refused(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(BadValueError) as caught:
        call(*arguments, **more)
    return str(caught.value)


# Masks


def test_masks_of_different_sizes_are_refused() -> None:
    assert refused(mask_combine, box(), box(40)) == (
        "the masks have different sizes (expected [1, 48, 64], got [1, 40, 64])"
    )


def test_growing_moves_the_edges_by_a_distance_and_shrinking_back_keeps_a_rectangle() -> None:
    grown = mask_grow(box(), 4).numpy()[0]
    assert grown[8 - 4, 20] == grown[20, 16 - 4] == 1
    assert grown[8 - 5, 20] == grown[20, 16 - 5] == grown[8 - 4, 16 - 4] == 0
    shrunk = mask_grow(mask_grow(box(), -4), 0).numpy()[0]
    assert shrunk.sum() == (24 - 8) * (16 - 8)
    assert np.array_equal(mask_grow(Mask(np.zeros((1, 8, 8))), 3).numpy(), np.zeros((1, 8, 8)))


def test_soft_masks_grow_level_by_level() -> None:
    soft = np.zeros((1, 9, 9), np.float32)
    soft[0, 4, 4], soft[0, 4, 5] = 1, 0.5
    grown = mask_grow(Mask(soft), 1).numpy()[0]
    assert grown[4].tolist() == [0, 0, 0, 1, 1, 1, 0.5, 0, 0]


@pytest.mark.parametrize(("where", "middle"), [("around", 0.5), ("inside", 0.0), ("outside", 1.0)])
def test_feathering_makes_a_ramp_on_the_side_that_was_chosen(where: Any, middle: float) -> None:
    ramp = mask_feather(box(64, 64, 32, 0, 32, 64), 8, where).numpy()[0, 32]
    assert (np.diff(ramp) >= 0).all()
    assert abs(ramp[31:33].mean() - middle) < 0.07
    assert (ramp[0], ramp[-1]) == (0, 1)
    hard = box(64, 64, 32, 0, 32, 64).numpy()[0, 32]
    assert where != "inside" or (ramp <= hard).all()
    assert where != "outside" or (ramp >= hard).all()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("union", [1, 1, 1, 0]),
        ("intersection", [1, 0, 0, 0]),
        ("difference", [0, 1, 0, 0]),
        ("exclusive", [0, 1, 1, 0]),
    ],
)
def test_masks_combine(how: Any, expected: list[int]) -> None:
    a, b = Mask(np.float32([[[1, 1, 0, 0]]])), Mask(np.float32([[[1, 0, 1, 0]]] * 2))
    assert mask_combine(a, b, how).numpy().tolist() == [[expected]] * 2


# Outpainting


def test_padding_keeps_the_picture_and_masks_what_is_new() -> None:
    image, mask = outpaint_pad(picture(), left=16, bottom=8, feather=8)
    assert image.shape == (1, 56, 80, 3)
    assert np.array_equal(image.numpy()[:, :48, 16:], picture().numpy())
    assert (mask.numpy()[0, :, :16] == 1).all()
    assert (mask.numpy()[0, 48:] == 1).all()
    assert not mask.numpy()[0, :40, 24:].any()
    assert 0 < mask.numpy()[0, 10, 18] < 1


def test_no_border_masks_nothing() -> None:
    image, mask = outpaint_pad(picture())
    assert np.array_equal(image.numpy(), picture().numpy())
    assert not mask.numpy().any()


# Crop and stitch


def test_an_empty_mask_and_a_foreign_region_are_refused() -> None:
    empty = Mask(np.zeros((1, 48, 64)))
    assert refused(inpaint_crop, picture(), empty) == "the mask is empty (expected a part to repaint, got none)"
    for region in (
        {},
        {"x": 0, "y": 0, "width": 65, "height": 1},
        {"x": 0, "y": 0, "width": 0, "height": 1},
        {"x": "0"},
    ):
        assert "the region lies outside the picture (expected x, y, width and height within 64x48" in refused(
            inpaint_stitch, picture(), picture(), box(), region
        )
    assert refused(inpaint_crop, picture(batch=2), Mask(np.ones((3, 48, 64)))) == (
        "the mask has a different batch size than the picture (expected 1 or 2, got 3)"
    )


@settings(deadline=None)
@given(
    x=st.integers(0, 60),
    y=st.integers(0, 44),
    wide=st.integers(1, 64),
    high=st.integers(1, 48),
    context=st.integers(0, 40),
    width=st.sampled_from([8, 32, 64]),
    height=st.sampled_from([8, 32]),
)
def test_what_is_cut_lies_in_the_picture_around_the_mask_and_goes_back_where_it_was(
    x: int, y: int, wide: int, high: int, context: int, width: int, height: int
) -> None:
    mask = box(x=x, y=y, wide=wide, high=high)
    part, cut, region = inpaint_crop(picture(), mask, width, height, context)
    assert part.shape == (1, height, width, 3)
    assert cut.shape == (1, height, width)
    left, top, right, bottom = region["x"], region["y"], region["x"] + region["width"], region["y"] + region["height"]
    assert 0 <= left <= max(0, x - context)
    assert 0 <= top <= max(0, y - context)
    assert min(64, min(64, x + wide) + context) <= right <= 64
    assert min(48, min(48, y + high) + context) <= bottom <= 48
    white = Image(np.ones((1, height, width, 3)))
    made = inpaint_stitch(picture(), white, mask, region).numpy()
    inside = mask.numpy()[0] == 1
    assert np.allclose(made[0][inside], 1)
    assert np.array_equal(made[0][~inside], picture().numpy()[0][~inside])


def test_a_part_of_the_wanted_shape_is_cut_without_distortion() -> None:
    _, _, region = inpaint_crop(picture(), box(), 32, 32, 4)
    assert (region["width"], region["height"]) == (32, 32)


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    target=st.tuples(st.sampled_from([64, 128, 256]), st.sampled_from([64, 128, 256])),
    context=st.integers(0, 40),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    extent=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_part_has_the_shape_of_its_target_and_goes_back_in_place(
    size: Any, target: Any, context: int, corner: Any, extent: Any
) -> None:
    height, width = size
    x, y = int(corner[0] * (width - 16)), int(corner[1] * (height - 16))
    wide, high = 16 + int(extent[0] * (width - x - 16)), 16 + int(extent[1] * (height - y - 16))
    mask = box(height, width, x, y, wide, high)
    ramp = np.stack(np.broadcast_arrays(*np.ogrid[0 : 1 : height * 1j, 0 : 1 : width * 1j], 0.5), -1)
    image = Image(ramp[None].astype(np.float32))
    part, _, region = inpaint_crop(image, mask, *target, context=context)
    across = region["width"] + region.get("left", 0) + region.get("right", 0)
    down = region["height"] + region.get("top", 0) + region.get("bottom", 0)
    assert abs(across - down * target[0] / target[1]) <= max(1, target[0] / target[1])
    back = inpaint_stitch(image, part, mask, region).numpy()
    half_pixel = 0.5 / (min(size) - 1)
    assert np.abs(back - image.numpy()).max() < max(0.02, half_pixel)  # where it was: a ramp would show a shift


@pytest.mark.parametrize("soft", ["picture", "latent"])
def test_a_soft_mask_counts_once_from_crop_to_stitch(soft: Any) -> None:
    levels = np.linspace(0, 1, 64, dtype=np.float32)[None, None].repeat(64, 1)
    image, mask = Image(np.zeros((1, 64, 64, 3), np.float32)), Mask(levels)
    part, cut, region = inpaint_crop(image, mask, 64, 64, 0, soft)
    painted = Image(part.numpy() + (1 - part.numpy()) * cut.numpy()[..., None])  # as a sampler does, with white
    assert np.allclose(inpaint_stitch(image, painted, mask, region).numpy()[..., 0], levels, atol=0.02)


def test_a_part_that_was_mixed_by_a_soft_mask_is_not_mixed_again() -> None:
    black, grey = (Image(np.full((1, 16, 16, 3), level, np.float32)) for level in (0, 0.5))
    half, whole = Mask(np.full((1, 16, 16), 0.5, np.float32)), {"x": 0, "y": 0, "width": 16, "height": 16}
    assert inpaint_stitch(black, grey, half, whole).numpy() == pytest.approx(0.5)


def test_paint_in_a_transparent_hole_is_seen_and_the_rest_keeps_its_alpha() -> None:
    pixels = np.full((1, 48, 64, 4), 0.25, np.float32)
    pixels[0, 8:24, 16:40, 3] = 0
    region = inpaint_crop(Image(pixels), box(), 32, 32).region
    made = inpaint_stitch(Image(pixels), Image(np.full((1, 32, 32, 3), 0.9, np.float32)), box(), region).numpy()
    assert np.allclose(made[0, 8:24, 16:40], [0.9, 0.9, 0.9, 1])
    outside = box().numpy()[0] == 0
    assert np.array_equal(made[0][outside], pixels[0][outside])


def test_half_a_paint_in_a_hole_is_half_opaque_in_its_own_colour() -> None:
    hole = Image(np.float32([[[[1, 0, 0, 0]]]]).repeat(16, 1).repeat(16, 2))
    half, region = Mask(np.full((1, 16, 16), 0.5)), {"x": 0, "y": 0, "width": 16, "height": 16, "soft": "picture"}
    made = inpaint_stitch(hole, Image(np.full((1, 16, 16, 3), 0.25, np.float32)), half, region).numpy()
    assert np.allclose(made, [0.25, 0.25, 0.25, 0.5])


# Filling


def with_a_hole() -> tuple[np.ndarray, Mask]:
    """Red above, blue below, and green where the mask is."""
    pixels = np.zeros((2, 40, 40, 3), np.float32)
    pixels[:, :20, :, 0] = pixels[:, 20:, :, 2] = 1
    mask = box(40, 40, 10, 10, 20, 20)
    pixels[:, 10:30, 10:30] = [0, 1, 0]
    return pixels, mask


@pytest.mark.parametrize("fill", ["neighbours", "blur", "colour", "noise"])
def test_filling_changes_what_is_masked_and_nothing_else(fill: Any) -> None:
    pixels, mask = with_a_hole()
    made = inpaint_fill(Image(pixels), mask, fill, "#ff8000", seed=3).numpy()
    inside = mask.numpy()[0] > 0
    assert np.array_equal(made[:, ~inside], pixels[:, ~inside])
    assert np.abs(made - pixels)[:, inside].max() > 0.2
    if fill == "colour":
        assert np.allclose(made[:, inside], np.float32([255, 128, 0]) / 255)


def test_neighbours_lead_their_colours_inwards() -> None:
    pixels, mask = with_a_hole()
    made = inpaint_fill(Image(pixels), mask).numpy()[0]
    assert made[..., 1].max() == pytest.approx(0, abs=1e-6)  # nothing of what was under the mask
    assert made[11, 12:28, 0].min() > 0.8
    assert made[28, 12:28, 2].min() > 0.8
    blank = inpaint_fill(Image(pixels), Mask(np.ones((1, 40, 40)))).numpy()
    assert np.allclose(blank, 0.5)


def test_noise_has_the_colours_of_the_picture_and_each_item_its_own() -> None:
    pixels, mask = with_a_hole()
    one, two = inpaint_fill(Image(pixels), mask, "noise", seed=5).numpy()[:, 10:30, 10:30]
    again = inpaint_fill(Image(pixels[:1]), mask, "noise", seed=6).numpy()[0, 10:30, 10:30]
    assert np.array_equal(two, again)
    assert not np.array_equal(one, two)
    assert one[..., 1].max() == 0
    assert one[..., 0].std() > 0.2


def test_filling_a_transparent_hole_makes_it_opaque_without_its_hidden_colour() -> None:
    pixels, mask = with_a_hole()
    alpha = 1 - mask.numpy()[..., None].repeat(2, 0)
    hidden = Image(np.concatenate([pixels, alpha], axis=3))
    for fill in ("neighbours", "blur", "noise"):
        made = inpaint_fill(hidden, mask, fill, sigma=3.0).numpy()  # type: ignore[arg-type]
        assert made[..., 3].min() == 1
        assert made[..., 1].max() < 1e-5


def test_a_soft_mask_fades_the_fill_once() -> None:
    half = Mask(np.full((1, 8, 8), 0.5))
    made = inpaint_fill(Image(np.zeros((1, 8, 8, 3))), half, "colour", "#ffffff").numpy()
    assert np.allclose(made, 0.5)
    assert refused(inpaint_fill, Image(np.zeros((1, 8, 8, 3))), half, "colour", "reddish") == (
        "this is not a colour (expected #rrggbb, got reddish)"
    )


def test_padding_with_grey_is_opaque_and_a_mask_goes_along() -> None:
    clear = Image(np.zeros((1, 8, 8, 4), np.float32))
    image, mask = outpaint_pad(clear, right=8, feather=0, fill="grey", mask=box(8, 8, 0, 0, 2, 8))
    assert np.allclose(image.numpy()[0, 0, 8:], [0.5, 0.5, 0.5, 1])
    assert np.array_equal(image.numpy()[:, :, :8], clear.numpy())
    assert mask.numpy()[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0] + [1] * 8


# The mask in a latent's cells


@pytest.mark.parametrize("rule", ["area", "cover", "bilinear", "nearest"])
def test_each_rule_makes_the_cells_that_it_promises(rule: Any) -> None:
    import torch
    from torch.nn.functional import interpolate

    mask = box(64, 64, 5, 13, 40, 38)
    found = set_latent_mask(Latent(np.zeros((1, 4, 8, 8), np.float32)), mask, rule).noise_mask
    assert found is not None
    assert found.shape == (1, 64, 64)
    cells = cells_of(found.tensor(), (8, 8))[0, 0]
    wide = mask.numpy()[0].reshape(8, 8, 8, 8)
    expected = {
        "area": wide.mean((1, 3)),
        "cover": wide.max((1, 3)),
        "bilinear": interpolate(mask.tensor()[None], (8, 8), mode="bilinear")[0, 0].numpy(),  # ComfyUI's reshape_mask
        "nearest": interpolate(mask.tensor()[None], (8, 8))[0, 0].numpy(),  # diffusers' prepare_mask_latents
    }
    assert torch.equal(cells, torch.from_numpy(expected[rule]))


@pytest.mark.parametrize("rule", ["area", "cover", "bilinear", "nearest"])
def test_all_rules_agree_on_masks_that_are_even_in_each_cell(rule: Any) -> None:
    levels = np.random.default_rng(1).random((2, 4, 6), np.float32).repeat(8, 1).repeat(8, 2)
    found = set_latent_mask(Latent(np.zeros((2, 4, 4, 6), np.float32)), Mask(levels), rule).noise_mask
    assert found is not None
    assert np.allclose(found.numpy(), levels, atol=1e-6)


# Models with more channels


@pytest.fixture(scope="module")
def special(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random checkpoints "inpaint", of 9 channels, and "instruct", of 8."""
    import torch
    from diffusers import UNet2DConditionModel

    root = tmp_path_factory.mktemp("special")
    for name, channels in (("inpaint", 9), ("instruct", 8)):
        folder = root / "checkpoints" / name
        shutil.copytree(tiny_models / "checkpoints" / "tiny", folder)
        config = json.loads((folder / "unet" / "config.json").read_text())
        torch.manual_seed(1)
        UNet2DConditionModel.from_config({**config, "in_channels": channels}).save_pretrained(folder / "unet")
    return root


@pytest.fixture
def studio(special: Path, tmp_path: Path) -> Any:
    settings = load_settings(
        {"models": [special], "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)}
    )
    with Session(settings) as made:
        made.settings.input.mkdir(parents=True)
        from latentloom.engine.files.pictures import encode_png

        for n in (1, 2):
            pixels = np.random.default_rng(n).random((64, 64, 3), np.float32)
            (made.settings.input / f"{n}.png").write_bytes(encode_png(pixels))
        (made.settings.input / "odd.png").write_bytes(encode_png(np.zeros((60, 64, 3), np.float32)))
        yield made


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def paint(
    session: Session, checkpoint: str, kind: str, file: str = "1.png", *, prepared: bool = True, **more: Any
) -> np.ndarray:
    inputs = {"positive": edge("text", "conditioning"), "negative": edge("blank", "conditioning")}
    full = {**inputs, "vae": edge("load", "vae"), "image": edge("picture", "image")}
    if kind == "InpaintConditioning":
        full["mask"] = edge("mask", "mask")
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("LoadCheckpoint", {"checkpoint": checkpoint}),
        "text": ("CLIPEncode", {"clip": edge("load", "clip"), "text": "a red circle"}),
        "blank": ("CLIPEncode", {"clip": edge("load", "clip")}),
        "picture": ("LoadImage", {"image": file}),
        "mask": ("MaskRectangle", {"width": 32, "height": 32, "box_width": 16, "box_height": 32}),
        "prepare": (kind, full),
        "model": ("InstructGuidance", {"model": edge("load", "model"), "image_cfg": more.pop("image_cfg", 1.5)}),
    }
    source = {name: edge("prepare", name) for name in inputs} if prepared else inputs
    sampled = {"model": edge("model" if kind == "InstructConditioning" else "load", "model"), **source}
    sampled |= {"latent": edge("prepare", "latent"), "seed": 3, "steps": 3, "cfg": 3.0, **more}
    nodes["it"] = ("KSampler", sampled)
    document = {
        "format": "latentloom/1",
        "nodes": {id: {"type": type, "inputs": values} for id, (type, values) in nodes.items()},
        "outputs": [{"name": name, "from": edge(name, "latent")} for name in ("it", "prepare")],
    }
    found = session.run(document)
    return np.stack([found["it"].numpy(), found["prepare"].numpy()])


def test_a_model_of_nine_channels_sees_the_picture_around_the_mask_and_keeps_it(studio: Session) -> None:
    found, start = paint(studio, "inpaint", "InpaintConditioning")
    other, _ = paint(studio, "inpaint", "InpaintConditioning", "2.png")
    assert np.array_equal(found[..., 5:], start[..., 5:])  # the resized mask has a soft edge
    assert np.abs(found[..., :4] - other[..., :4]).max() > 1e-3


def test_a_model_of_eight_channels_sees_the_picture_by_its_own_scale(studio: Session) -> None:
    one, other, close = (
        paint(studio, "instruct", "InstructConditioning", file, image_cfg=scale)[0]
        for file, scale in (("1.png", 1.5), ("2.png", 1.5), ("1.png", 4.0))
    )
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - close).max() > 1e-3


def test_a_model_that_needs_a_picture_says_so(studio: Session) -> None:
    with pytest.raises(NodeError) as caught:
        paint(studio, "inpaint", "InpaintConditioning", prepared=False)
    assert str(caught.value).startswith("node 'it': KSampler: 'inpaint'")
    assert "needs input channels in addition to the noise (expected 9 channels, got 4)" in str(caught.value)
    with pytest.raises(NodeError, match=r"\(expected 9 channels, got 8\)"):
        paint(studio, "inpaint", "InstructConditioning")


def test_sides_that_are_no_multiples_of_8_are_refused(studio: Session) -> None:
    with pytest.raises(NodeError) as caught:
        paint(studio, "inpaint", "InpaintConditioning", "odd.png")
    assert (
        "InpaintConditioning: the picture's sides are not multiples of 8 (expected for example 64x56, got 64x60)"
        in (str(caught.value))
    )


def test_what_is_masked_is_grey_when_it_is_encoded_and_the_mask_grows(studio: Session) -> None:
    box = {"width": 64, "height": 64, "x": 16, "y": 16}
    nodes: dict[str, Any] = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "inpaint"}},
        "some": {"type": "MaskRectangle", "inputs": {**box, "box_width": 8, "box_height": 8}},
        "all": {"type": "SolidMask", "inputs": {"width": 64, "height": 64}},
    }
    for n in (1, 2):
        nodes[f"picture{n}"] = {"type": "LoadImage", "inputs": {"image": f"{n}.png"}}
        for mask in ("some", "all"):
            inputs = {"vae": edge("load", "vae"), "image": edge(f"picture{n}", "image"), "mask": edge(mask, "mask")}
            nodes[f"{mask}{n}"] = {"type": "InpaintEncode", "inputs": inputs}
    outputs = [{"name": name, "from": edge(name, "latent")} for name in ("all1", "all2", "some1", "some2")]
    found = studio.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})
    assert np.array_equal(found["all1"].numpy(), found["all2"].numpy())
    assert not np.array_equal(found["some1"].numpy(), found["some2"].numpy())
    mask = found["some1"].noise_mask.numpy()[0]
    assert mask[14:27, 14:27].all()  # 2 pixels on the left, 3 on the right
    assert mask.sum() == 13 * 13


def test_a_detailer_is_the_seven_nodes_that_it_names(studio: Session) -> None:
    sampled = {"seed": 5, "steps": 2, "cfg": 3.0, "sampler": "euler", "schedule": "karras", "denoise": 0.7}
    ends = {"model": edge("load", "model"), "positive": edge("text", "conditioning"),
            "negative": edge("text", "conditioning")}  # fmt: skip
    crop = {"width": 32, "height": 32, "context": 4}
    vae = {"vae": edge("load", "vae")}
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("LoadCheckpoint", {"checkpoint": "shapes"}),
        "text": ("CLIPEncode", {"clip": edge("load", "clip"), "text": "a red circle"}),
        "picture": ("LoadImage", {"image": "1.png"}),
        "mask": ("MaskRectangle", {"width": 32, "height": 32, "box_width": 10, "box_height": 9, "x": 12, "y": 3}),
        "empty": ("SolidMask", {"width": 32, "height": 32, "value": 0.0}),
        "soft": ("MaskFeather", {"mask": edge("mask", "mask"), "pixels": 3, "where": "outside"}),
        "crop": ("InpaintCrop", {"image": edge("picture", "image"), "mask": edge("soft", "mask"), **crop}),
        "encode": ("VAEEncode", {**vae, "image": edge("crop", "image")}),
        "masked": ("SetLatentMask", {"latent": edge("encode", "latent"), "mask": edge("crop", "mask")}),
        "sample": ("KSampler", {**ends, "latent": edge("masked", "latent"), **sampled}),
        "decode": ("VAEDecode", {**vae, "latent": edge("sample", "latent")}),
        "many": ("InpaintStitch", {"image": edge("picture", "image"), "part": edge("decode", "image"),
                                   "mask": edge("soft", "mask"), "region": edge("crop", "region")}),
    }  # fmt: skip
    one = {"image": edge("picture", "image"), **vae, **ends, **sampled, **crop, "feather": 3}
    nodes["one"] = ("Detailer", {**one, "mask": edge("mask", "mask")})
    nodes["none"] = ("Detailer", {**one, "mask": edge("empty", "mask")})
    document = {
        "format": "latentloom/1",
        "nodes": {id: {"type": type, "inputs": values} for id, (type, values) in nodes.items()},
        "outputs": [{"name": n, "from": edge(n, "image")} for n in ("one", "many", "none", "picture")],
    }
    found = {name: value.numpy() for name, value in studio.run(document).outputs.items()}
    assert np.array_equal(found["one"], found["many"])
    assert not np.array_equal(found["one"], found["picture"])
    assert np.array_equal(found["one"][:, 32:], found["picture"][:, 32:])
    assert np.array_equal(found["none"], found["picture"])
