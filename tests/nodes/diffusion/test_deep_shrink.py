"""Deep Shrink on a UNet of three levels, beside a walk through its layers in the original code's order."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn.functional import interpolate

from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.deep_shrink import DeepShrink

LEVELS, LAYERS = 3, 2
LAST = LEVELS * (LAYERS + 1) - 1


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(8, 16, 16),
        down_block_types=("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2,
        layers_per_block=LAYERS,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def walk(unet, x, time, context, depth, factor, controls=None):
    """The rule: features are smaller behind a block, and grow to a skip's size where they meet a larger one."""
    emb = unet.time_embedding(unet.time_proj(torch.tensor([time])).expand(len(x), -1))
    h = unet.conv_in(x)
    skips = [h]

    def resized(h, size):
        return interpolate(h, size, mode="bicubic", align_corners=False)

    def block(h, resnet, attention):
        h = resnet(h, emb)
        return attention(h, context, return_dict=False)[0] if attention is not None else h

    def pairs(part):
        attentions = getattr(part, "attentions", None) or [None] * len(part.resnets)
        return list(zip(part.resnets, attentions, strict=True))

    def noted(h):
        skips.append(h)
        return resized(h, [side // factor for side in h.shape[2:]]) if len(skips) - 1 == depth else h

    for part in unet.down_blocks:
        for pair in pairs(part):
            h = noted(block(h, *pair))
        for layer in part.downsamplers or ():
            h = noted(layer(h))
    h = unet.mid_block(h, emb, encoder_hidden_states=context)
    if controls is not None:
        downs, middle = controls
        added = [
            add if add.shape == skip.shape else resized(add, skip.shape[2:])
            for skip, add in zip(skips, downs, strict=True)
        ]
        skips = [skip + add for skip, add in zip(skips, added, strict=True)]
        h = h + resized(middle, h.shape[2:])
    for part in unet.up_blocks:
        for pair in pairs(part):
            skip = skips.pop()
            if skip.shape[2:] != h.shape[2:]:
                h = resized(h, skip.shape[2:])
            h = block(torch.cat([h, skip], dim=1), *pair)
        for layer in part.upsamplers or ():
            h = layer(h)
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


@pytest.fixture
def arguments():
    torch.manual_seed(1)
    return torch.randn(2, 4, 16, 32), 500, torch.randn(2, 3, 8)


@torch.no_grad()
@pytest.mark.parametrize("depth", range(1, LAST + 1))
def test_it_shrinks_behind_a_block_and_grows_where_a_larger_skip_is_read(unet, arguments, depth):
    plain = unet(*arguments).sample
    shrink = DeepShrink(depth, 2.0, "bicubic")
    with shrink.over(unet):
        shrink.active = True
        found = unet(*arguments).sample
        shrink.active = False
        idle = unet(*arguments).sample
    torch.testing.assert_close(found, walk(unet, *arguments, depth=depth, factor=2), atol=1e-5, rtol=1e-4)
    assert (found - plain).abs().max() > 1e-3
    assert torch.equal(idle, plain)
    assert torch.equal(unet(*arguments).sample, plain)


@torch.no_grad()
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_what_a_controlnet_adds_shrinks_too(unet, arguments, depth):
    sizes = [(8, 1), (8, 1), (8, 1), (8, 2), (16, 2), (16, 2), (16, 4), (16, 4), (16, 4)]
    downs = [torch.randn(2, width, 16 // by, 32 // by) for width, by in sizes]
    middle = torch.randn(2, 16, 4, 8)
    shrink = DeepShrink(depth, 2.0, "bicubic")
    with shrink.over(unet):
        shrink.active = True
        found = unet(
            *arguments, down_block_additional_residuals=tuple(downs), mid_block_additional_residual=middle
        ).sample
    known = walk(unet, *arguments, depth=depth, factor=2, controls=(downs, middle))
    torch.testing.assert_close(found, known, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("factor", "method"), [(1.5, "bilinear"), (3.0, "area"), (100.0, "nearest")])
@pytest.mark.parametrize("size", [(12, 20), (8, 36)])
def test_any_size_and_factor_give_a_picture_of_the_size(unet, size, factor, method):
    x, context = torch.randn(1, 4, *size), torch.randn(1, 3, 8)
    for depth in (1, 3, 4, LAST):
        shrink = DeepShrink(depth, factor, method)
        with shrink.over(unet):
            shrink.active = True
            found = unet(x, 500, context).sample
        assert found.shape == x.shape
        assert found.isfinite().all()


def test_a_depth_beyond_the_last_block_is_refused(unet):
    with pytest.raises(BadValueError) as caught, DeepShrink(LAST + 1, 2.0, "bicubic").over(unet):
        pass
    assert (
        str(caught.value)
        == f"the UNet does not have that many blocks (expected a depth of 1 to {LAST}, got {LAST + 1})"
    )


@torch.no_grad()
def test_beside_a_t2i_adapter_it_is_refused(unet, arguments):
    shrink = DeepShrink(3, 2.0, "bicubic")
    adds = [torch.zeros(2, width, 16 // by, 32 // by) for width, by in ((8, 1), (16, 2), (16, 4))]
    with shrink.over(unet), pytest.raises(BadValueError, match="DeepShrink or a T2I-Adapter"):
        shrink.active = True
        unet(*arguments, down_intrablock_additional_residuals=adds)
