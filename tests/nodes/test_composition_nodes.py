"""Conditionings put together: what each node makes of the entries."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latentloom.engine import Array, Cond, Conditioning, Latent, Mask, Model
from latentloom.engine.errors import BadValueError
from latentloom.nodes.conditioning_combine import (
    conditioning_area,
    conditioning_average,
    conditioning_combine,
    conditioning_concat,
    conditioning_mask,
    conditioning_size,
    conditioning_strength,
    conditioning_times,
    conditioning_zero_out,
)
from latentloom.nodes.diffusion.conditions import EntryMaker, check_conditioning
from latentloom.nodes.diffusion.control_residuals import Controls
from latentloom.nodes.families.stable_diffusion.unet import UNET


def cond(level: float, length: int = 4, width: int = 3, **extra: Any) -> Conditioning:
    arrays = {"pooled": Array(np.full((1, 5), level))}
    return Conditioning([Cond(Array(np.full((1, length, width), level)), extra, arrays)])


def levels(found: Conditioning) -> list[list[float]]:
    return [entry.embedding.numpy()[0, :, 0].tolist() for entry in found.entries]


def refused(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(BadValueError) as caught:
        call(*arguments, **more)
    return str(caught.value)


A, B = cond(1.0), cond(3.0)
BOTH = conditioning_combine([A, B])


def test_what_does_not_fit_together_is_refused() -> None:
    wide = cond(1.0, width=6)
    families = "the conditionings come from different model families (expected vectors of 3 numbers, got 6)"
    assert refused(conditioning_concat, A, wide) == refused(conditioning_average, A, wide) == families
    several = "'extra' has several entries (expected one, which does not change with the steps, got 2)"
    assert refused(conditioning_concat, A, BOTH) == several
    assert refused(conditioning_average, A, BOTH) == several.replace("extra", "b")
    assert refused(conditioning_concat, cond(1.0, 3000), cond(1.0, 3000)) == (
        "the conditioning would be too long (expected at most 4928 tokens, got 6000)"
    )
    assert refused(conditioning_average, cond(1.0, 77), cond(1.0, 76)) == (
        "the lengths of the conditionings do not fit together (expected 77 tokens, got 76)"
    )
    assert refused(conditioning_times, A, 0.5, 0.5) == (
        "the conditioning is not active in that range of steps (expected start before end, got 0.5 to 0.5)"
    )
    first = conditioning_mask(A, Mask(np.ones((1, 8, 8))))
    assert refused(conditioning_mask, first, Mask(np.ones((1, 8, 9)))) == (
        "the masks have different sizes (expected [1, 8, 8], got [1, 8, 9])"
    )
    assert "CONDITIONING is empty" in refused(conditioning_combine, [])


def test_combine_keeps_every_entry() -> None:
    assert levels(BOTH) == [[1.0] * 4, [3.0] * 4]


def test_concat_goes_on() -> None:
    assert levels(conditioning_concat(BOTH, cond(7.0, 2))) == [[1.0] * 4 + [7.0] * 2, [3.0] * 4 + [7.0] * 2]


def test_average_mixes_vectors_and_pooled() -> None:
    found = conditioning_average(A, B, 0.25)
    assert levels(found) == [[1.5] * 4]
    assert (found.entries[0].arrays["pooled"].numpy() == 1.5).all()
    assert levels(conditioning_average(cond(1.0, 2), B, 1.0)) == [[3.0] * 4]
    assert levels(conditioning_average(A, B, 0.0)) == levels(A)


def masked(level: float, *mask: int, **more: list[int]) -> Conditioning:
    """A prompt of a model that masks the padding: a mark per token."""
    arrays = {name: Array(np.array([marks])) for name, marks in {"prompt_mask": mask, **more}.items()}
    return Conditioning([replace(cond(level, len(mask)).entries[0], arrays=arrays)])


def marks(found: Conditioning) -> dict[str, list[int]]:
    return {name: array.numpy()[0].tolist() for name, array in found.entries[0].arrays.items()}


def test_the_marks_of_tokens_follow_the_tokens() -> None:
    joined = conditioning_concat(masked(1.0, 1, 1, 0), masked(2.0, 1, 1, picture_slots=[0, 1]))
    assert marks(joined) == {"prompt_mask": [1, 1, 0, 1, 1], "picture_slots": [0, 0, 0, 0, 1]}
    assert marks(conditioning_concat(cond(1.0, 2), masked(2.0, 1, 0)))["prompt_mask"] == [1, 1, 1, 0]

    mixed = conditioning_average(masked(1.0, 1, 0, 0), masked(3.0, 1, 1), 0.5)
    assert marks(mixed) == {"prompt_mask": [1, 1, 0]}
    assert levels(mixed) == [[2.0, 2.0, 0.5]]  # padded, not repeated
    assert refused(conditioning_average, masked(1.0, 1, picture_slots=[1]), masked(1.0, 1)) == (
        "prompts with images cannot be averaged (expected prompts of text, got images)"
    )


def test_zero_out_leaves_nothing() -> None:
    (entry,) = conditioning_zero_out(A).entries
    assert not entry.embedding.numpy().any()
    assert not entry.arrays["pooled"].numpy().any()


def test_strengths_multiply_and_one_is_nothing() -> None:
    assert conditioning_strength(A, 1.0).entries[0].extra == {}
    twice = conditioning_area(conditioning_strength(A, 0.5), 64, 64, 8, 16, 3.0)
    area = {"x": 8, "y": 16, "width": 64, "height": 64}
    assert twice.entries[0].extra == {"strength": 1.5, "area": area}


def test_a_second_mask_counts_where_both_do() -> None:
    half, soft = np.ones((1, 2, 2)), np.full((3, 2, 2), 0.5)
    half[:, :, 1] = 0
    found = conditioning_mask(conditioning_mask(A, Mask(half)), Mask(soft)).entries[0].arrays["mask"]
    assert found.numpy().tolist() == [[[0.5, 0], [0.5, 0]]] * 3


def test_times_cut_what_has_times_already() -> None:
    prompt = conditioning_combine([cond(1.0, start=0.0, end=0.4), cond(2.0, start=0.4, end=1.0)])
    cut = conditioning_times(prompt, 0.2, 0.5)
    assert [(e.extra["start"], e.extra["end"]) for e in cut.entries] == [(0.2, 0.4), (0.4, 0.5)]
    assert levels(conditioning_times(prompt, 0.4, 1.0)) == [[2.0] * 4]


# What the sampler makes of them

LATENT = Latent(np.zeros((2, 4, 8, 16), np.float32))


def model(**info: Any) -> Model:
    return Model("none", [], {"scaling_factor": 0.5, **info})


def made(conditioning: Conditioning, dtype: Any = None, **info: Any) -> Any:
    import torch

    check_conditioning(model(**info), LATENT, conditioning)
    dtype = dtype or torch.float32
    (entry,) = EntryMaker(model(**info), LATENT, UNET, "cpu", dtype, Controls(model(**info), ()))(conditioning)
    return entry


def test_an_area_is_cut_to_the_picture_and_one_outside_of_it_is_refused() -> None:
    found = made(conditioning_area(A, 64, 64, 96, 8)).area
    assert (found.top, found.left, found.height, found.width) == (1, 12, 7, 4)
    assert refused(made, conditioning_area(A, 64, 64, 128, 0)) == (
        "an area of the conditioning lies outside the picture (expected within 128x64, got 64x64 at 128, 0)"
    )


def test_a_mask_is_resized_to_the_latent_and_one_of_another_batch_is_refused() -> None:
    mask = np.zeros((1, 32, 64))
    mask[:, :16] = 1
    assert made(conditioning_mask(A, Mask(mask))).mask[0, 0, :, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert refused(made, conditioning_mask(A, Mask(np.ones((3, 8, 8))))) == (
        "a map of the conditioning has a different batch size than the latent (expected 1 or 2, got 3)"
    )


def test_a_conditioning_of_another_family_is_refused_with_the_name_of_the_model() -> None:
    assert refused(made, A, context=768, family="sd1") == (
        "the conditioning does not fit 'this model' (expected a text encoder of SD 1.x (768 wide), got one 3 wide)\n"
        "  hint: encode the prompt with the CLIP of the same checkpoint"
    )
    assert refused(made, A, context=3, pooled=1280) == (
        "the conditioning lacks the pooled output that the model needs (expected 1280 numbers, for 'this model', "
        "got 5)\n  hint: encode the prompt with the CLIP of the same checkpoint"
    )


def test_sdxl_is_told_sizes_exactly_whatever_its_dtype() -> None:
    import torch

    sized = conditioning_size(A, 1337, 2049, 1001, 3, 1152, 896)
    condition = made(sized, torch.bfloat16, time_ids=6).condition
    assert condition["time_ids"].tolist() == [[2049, 1337, 3, 1001, 896, 1152]]
    assert (condition["time_ids"].dtype, condition["text_embeds"].dtype) == (torch.float32, torch.bfloat16)


def test_sdxl_is_told_sizes_in_its_order() -> None:
    sized = conditioning_size(A, 300, 200, 7, 8, 600, 500)
    assert made(sized, time_ids=6).condition["time_ids"].tolist() == [[200, 300, 8, 7, 500, 600]]
    assert made(A, time_ids=6).condition["time_ids"].tolist() == [[64, 128, 0, 0, 64, 128]]
    assert made(conditioning_size(A, aesthetic=2.5), time_ids=5).condition["time_ids"].tolist() == [
        [64, 128, 0, 0, 2.5]
    ]
    assert made(A, time_ids=6).condition["text_embeds"].tolist() == [[1.0] * 5]
    assert made(A).condition.keys() == {"context"}
