"""Prompt-to-Prompt: alignment of prompts, and what control does to a random UNet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentloom.api import Session
from latentloom.engine.errors import BadValueError, NodeError
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder
from latentloom.nodes.text.prompt_alignment import alignment, one_chunk

T = 32


@pytest.fixture(scope="module")
def tokenizer(tiny_models: Path) -> Any:
    folder = tiny_models / "checkpoints" / "tiny"
    return DiffusersFolder().load([folder], {"component": "clip"}).encoders[0].tokenizer


def aligned(tokenizer: Any, source: str, edited: str, how: Any) -> Any:
    return alignment(tokenizer, one_chunk(tokenizer, source, "source"), one_chunk(tokenizer, edited, "source"), how)


def test_prompts_of_unlike_length_are_not_replaced_word_by_word(tokenizer: Any) -> None:
    with pytest.raises(BadValueError) as caught:
        aligned(tokenizer, "a red circle", "a circle", "replace")
    assert str(caught.value) == (
        "the prompts do not have the same number of words (expected 3 words, as the source has, got 2)\n"
        "  hint: choose refine for prompts with added or removed words"
    )


def test_prompts_of_several_chunks_are_refused(tokenizer: Any) -> None:
    with pytest.raises(BadValueError) as caught:
        one_chunk(tokenizer, "red " * 31, "edited")
    assert str(caught.value) == "the edited prompt is too long (expected at most 30 tokens, got 31)"


def test_words_of_one_token_are_replaced_one_to_one(tokenizer: Any) -> None:
    mapper, kept, weights = aligned(tokenizer, "a red circle", "a blue square", "replace")
    assert np.array_equal(mapper, np.eye(T))
    assert (kept == 1).all()
    assert (weights == 1).all()


def test_a_word_of_several_tokens_gets_its_share(tokenizer: Any) -> None:
    pieces = len(tokenizer.tokenize("cat"))
    mapper, _, _ = aligned(tokenizer, "a red circle", "a red cat", "replace")
    assert np.allclose(mapper[3, 3 : 3 + pieces], 1 / pieces)
    assert mapper[4, 3 + pieces] == 1
    assert np.allclose(mapper.sum(axis=1), 1)


def test_refining_keeps_what_both_have(tokenizer: Any) -> None:
    mapper, kept, _ = aligned(tokenizer, "a circle", "a (large:1.5) red circle", "refine")
    assert kept[:6].tolist() == [1, 1, 0, 0, 1, 1]
    assert [int(mapper[:, n].argmax()) for n in (0, 1, 4, 5)] == [0, 1, 2, 3]
    assert not mapper[:, 2:4].any()


def test_weights_are_those_of_the_edited_words(tokenizer: Any) -> None:
    _, _, weights = aligned(tokenizer, "(a:3) red circle", "a (red:2) circle", "replace")
    assert weights[:5].tolist() == [1, 1, 2, 1, 1]


CLIP = {"node": "load", "output": "clip"}


def three(session: Session, source: str, edited: str, **more: Any) -> list[np.ndarray]:
    """The source, its edit, and the edited prompt sampled by itself."""
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "tiny"}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": CLIP}},
        "plain": {"type": "CLIPEncode", "inputs": {"clip": CLIP, "text": edited}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64, "batch": 2}},
    }
    shared = {
        "model": {"node": "load", "output": "model"},
        "negative": {"node": "negative", "output": "conditioning"},
        "latent": {"node": "empty", "output": "latent"},
        "seed": 5,
        "steps": 4,
        "cfg": 3.0,
        "sampler": "euler",
    }
    both = {**shared, "clip": CLIP, "source": source, "edited": edited, **more}
    nodes["it"] = {"type": "PromptToPrompt", "inputs": both}
    nodes["alone"] = {
        "type": "KSampler",
        "inputs": {**shared, "positive": {"node": "plain", "output": "conditioning"}},
    }
    outputs = [{"name": name, "from": {"node": "it", "output": name}} for name in ("source", "edited")]
    outputs.append({"name": "alone", "from": {"node": "alone", "output": "latent"}})
    found = session.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})
    return [found[name].numpy() for name in ("source", "edited", "alone")]


def test_the_same_prompt_gives_the_same_picture_twice(session: Session) -> None:
    source, edited, _ = three(session, "a red circle", "a red circle", cross=1.0, self_attention=1.0)
    assert np.allclose(source, edited, atol=1e-4)


def test_without_control_both_prompts_are_sampled_as_they_are_alone(session: Session) -> None:
    _, edited, alone = three(session, "a red circle", "a blue square", cross=0.0, self_attention=0.0)
    assert np.allclose(edited, alone, atol=1e-4)


def test_control_brings_the_edit_nearer_to_its_source(session: Session) -> None:
    source, free, _ = three(session, "a red circle", "a blue square", cross=0.0, self_attention=0.0)
    same, held, _ = three(session, "a red circle", "a blue square", cross=1.0, self_attention=1.0)
    assert np.allclose(source, same, atol=1e-4)
    assert 0 < np.abs(held - source).mean() < np.abs(free - source).mean()


def test_a_weight_acts_on_attention(session: Session) -> None:
    source, edited, _ = three(session, "a red circle", "a (red:3) circle", cross=1.0, self_attention=1.0)
    assert np.abs(edited - source).max() > 1e-3


def test_a_sampler_that_draws_noise_is_refused(session: Session) -> None:
    with pytest.raises(NodeError) as caught:
        three(session, "a", "a", sampler="euler_ancestral")
    assert str(caught.value) == (
        "node 'it': PromptToPrompt: the sampler draws noise at its steps "
        "(expected one without, such as euler, got euler_ancestral)"
    )
