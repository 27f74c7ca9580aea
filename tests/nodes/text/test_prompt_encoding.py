"""From prompts to embeddings: chunks, weights, layers, several encoders."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentloom.api import Session
from latentloom.engine.errors import BadValueError, NodeError, WorkflowError
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.embedding import embed
from latentloom.nodes.text.encoder import Encoder
from latentloom.nodes.text.prompt_weights import parse
from latentloom.nodes.text.tokens import chunks

ROOM = 30
WORDS = ["red", "blue", "circle", "a", "cat", ","]


@pytest.fixture(scope="module")
def encoder(tiny_models: Path) -> Iterator[TextEncoder]:
    found: TextEncoder = DiffusersFolder().load([tiny_models / "checkpoints" / "tiny"], {"component": "clip"})
    yield found


def plain(encoder: TextEncoder, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers gives for a text of one chunk."""
    one = encoder.encoders[0]
    tokens = one.tokenizer(text, padding="max_length", truncation=True, max_length=32, return_tensors="pt").input_ids
    with torch.no_grad():
        found = one.model(tokens)
    return found.last_hidden_state, found.pooler_output


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(["{}", "({}:1)", "([{}])", "({}:1.0)"])), max_size=5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_weight_one_everywhere_is_the_plain_encoding_bit_for_bit(encoder: TextEncoder, words: Any) -> None:
    text, bare = " ".join(form.format(word) for word, form in words), " ".join(word for word, _ in words)
    hidden, pooled = plain(encoder, bare)
    found, found_pooled = embed(encoder, text.replace("([", "(").replace("])", ":1)"), "a1111")
    assert torch.equal(found, hidden)
    assert torch.equal(found_pooled, pooled)


def test_a_weight_scales_its_tokens_and_keeps_the_mean_of_the_chunk(encoder: TextEncoder) -> None:
    one = encoder.encoders[0]
    model = copy.deepcopy(one.model)
    model.final_layer_norm.bias.data += 0.3  # the random model has no mean, and then nothing is kept
    shifted = TextEncoder((replace(one, model=model),))
    bare, _ = plain(shifted, "a red circle")
    found, _ = embed(shifted, "a (red:1.5) circle", "a1111")
    scaled = bare.clone()
    scaled[:, 2] *= 1.5
    torch.testing.assert_close(found, scaled * bare.mean() / scaled.mean())
    assert abs(bare.mean() / scaled.mean() - 1) > 0.01


def test_a_mean_that_is_only_rounding_is_not_kept(encoder: TextEncoder) -> None:
    scaled, _ = plain(encoder, "a red circle")
    scaled[:, 2] *= 1.5
    assert torch.equal(embed(encoder, "a (red:1.5) circle", "a1111")[0], scaled)


def test_comfyuis_weight_moves_its_tokens_away_from_the_empty_prompt(encoder: TextEncoder) -> None:
    (bare, _), (empty, _) = plain(encoder, "a red circle"), plain(encoder, "")
    found, _ = embed(encoder, "a (red:1.5) circle", "comfyui")
    expected = bare.clone()
    expected[:, 2] = empty[:, 2] + 1.5 * (bare[:, 2] - empty[:, 2])
    torch.testing.assert_close(found, expected)


def test_a_long_prompt_is_read_in_chunks(encoder: TextEncoder) -> None:
    first, second = " ".join(["red"] * ROOM), "a blue circle"
    found, pooled = embed(encoder, f"{first} {second}", "a1111")
    assert found.shape == (1, 64, 32)
    torch.testing.assert_close(found, torch.cat([plain(encoder, first)[0], plain(encoder, second)[0]], dim=1))
    torch.testing.assert_close(pooled, plain(encoder, first)[1])


def test_break_ends_a_chunk(encoder: TextEncoder) -> None:
    found, _ = embed(encoder, "a red circle BREAK a blue square", "a1111")
    torch.testing.assert_close(found, torch.cat([plain(encoder, t)[0] for t in ("a red circle", "a blue square")], 1))


def lengths(encoder: TextEncoder, text: str, grammar: Any) -> list[int]:
    return [len(chunk) for chunk in chunks(parse(text, grammar), encoder.encoders[0].tokenizer, grammar)]


@pytest.mark.parametrize(("comma", "expected"), [(29, [30, 5]), (15, [16, 19]), (10, [11, 24]), (9, [30, 5])])
def test_a_chunk_ends_at_a_comma_among_its_last_twenty_tokens(encoder: TextEncoder, comma: int, expected: Any) -> None:
    words = ["red"] * 35
    words[comma] = ","
    assert lengths(encoder, " ".join(words), "a1111") == expected


@pytest.mark.parametrize(
    ("commas", "expected"),
    [((30,), [30, 5]), ((20, 30), [30, 5]), ((20, 31), [21, 14]), ((20, 30, 31), [30, 5])],
)
def test_a_comma_that_begins_the_next_chunk_leaves_the_full_one(
    encoder: TextEncoder, commas: tuple[int, ...], expected: list[int]
) -> None:
    words = ["," if n in commas else "red" for n in range(35)]
    assert lengths(encoder, " ".join(words), "a1111") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0]),
        ("red BREAK", [1]),
        ("red BREAK ", [1]),
        ("BREAK", [0]),
        ("BREAK red", [0, 1]),
        ("red BREAK BREAK", [1, 0]),
        ("red BREAK BREAK red", [1, 0, 1]),
    ],
)
def test_break_begins_a_chunk_for_what_follows_it(encoder: TextEncoder, text: str, expected: list[int]) -> None:
    assert lengths(encoder, text, "a1111") == expected


def test_comfyui_cuts_no_word_in_two(encoder: TextEncoder) -> None:
    word = len(encoder.encoders[0].tokenizer.tokenize("cat"))
    assert 1 < word < 8
    assert lengths(encoder, "red " * 29 + "cat", "comfyui") == [29, word]
    assert lengths(encoder, "red " * 29 + "cat", "a1111") == [30, word - 1]
    assert lengths(encoder, "x" * 95, "comfyui")[:2] == [30, 30]


def test_a_prompt_without_end_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(BadValueError) as caught:
        embed(encoder, "BREAK " * 64, "a1111")
    assert str(caught.value) == "the prompt is too long (expected at most 1920 tokens, got more)"


def test_clip_skip_reads_an_earlier_layer_with_the_final_norm(encoder: TextEncoder) -> None:
    model, tokenizer = encoder.encoders[0].model, encoder.encoders[0].tokenizer
    tokens = tokenizer("red", padding="max_length", max_length=32, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model.final_layer_norm(model(tokens, output_hidden_states=True).hidden_states[-2])
    assert torch.equal(embed(encoder, "red", "a1111", clip_skip=2)[0], expected)
    assert not torch.allclose(embed(encoder, "red", "a1111")[0], expected)


def test_clip_skip_ends_where_the_layers_end(encoder: TextEncoder) -> None:
    with pytest.raises(BadValueError) as caught:
        embed(encoder, "red", "a1111", clip_skip=3)
    assert str(caught.value) == (
        "clip_skip is larger than the number of layers of the text encoder (expected at most 2, got 3)"
    )


def test_two_encoders_stand_side_by_side_and_the_second_is_pooled(encoder: TextEncoder) -> None:
    one = encoder.encoders[0]
    other = Encoder("g", one.model, one.tokenizer, layer=-2, final_norm=False, projection=torch.nn.Linear(32, 8))
    found, pooled = embed(TextEncoder((one, other)), "a (red:1.2) circle", "a1111")
    assert found.shape == (1, 32, 64)
    assert torch.equal(found[..., :32], embed(encoder, "a (red:1.2) circle", "a1111")[0])
    assert torch.equal(found[..., 32:], embed(TextEncoder((other,)), "a (red:1.2) circle", "a1111")[0])
    assert pooled.shape == (1, 8)


def conditioning(session: Session, on_event: Any = lambda event: None, **inputs: Any) -> Any:
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "tiny"}},
        "read": {"type": "CLIPEncode", "inputs": {"clip": {"node": "load", "output": "clip"}, **inputs}},
    }
    outputs = [{"name": "it", "from": {"node": "read", "output": "conditioning"}}]
    return session.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs}, on_event=on_event)["it"]


def test_a_prompt_that_changes_has_an_entry_for_each_text_with_its_time(session: Session) -> None:
    found = conditioning(session, text="a [red:blue:5] [circle|square]")
    assert [entry.extra["times"] for entry in found.entries] == [
        {"last": 5, "period": 2},
        {"last": 5, "turn": 1, "period": 2},
        {"first": 5, "period": 2},
        {"first": 5, "turn": 1, "period": 2},
    ]
    (steady,) = conditioning(session, text="a blue square").entries
    assert steady.extra == {}
    assert (found.entries[3].embedding.numpy() == steady.embedding.numpy()).all()


def test_other_grammars_know_no_editing(session: Session) -> None:
    for grammar in ("comfyui", "plain"):
        assert len(conditioning(session, text="[red:blue:0.5]", grammar=grammar).entries) == 1


def test_what_a_grammar_refuses_names_the_node(session: Session) -> None:
    with pytest.raises(NodeError) as caught:
        conditioning(session, text="(" * 101)
    assert str(caught.value) == (
        "node 'read': CLIPEncode: the prompt's brackets are nested too deep (expected at most 100, got more)"
    )


def test_a_text_that_is_too_long_is_refused_before_the_run(session: Session) -> None:
    with pytest.raises(WorkflowError) as caught:
        conditioning(session, text="a" * 20_001)
    assert [(p.code, p.node, p.input) for p in caught.value.problems] == [("out_of_range", "read", "text")]


def test_only_words_are_named_that_a_small_model_does_not_know(session: Session) -> None:
    events: list[Any] = []
    conditioning(session, events.append, text="a (red:1.3) [cat:circle:0.5] BREAK a [blue] dog")
    (warning,) = [event for event in events if event.name == "node_warning"]
    assert (warning.code, warning.message.partition(":")[0]) == (
        "unknown_words",
        "the embedded model does not know 'cat', 'dog'",
    )


@pytest.mark.parametrize(
    ("text", "grammar", "told"),
    [
        (
            "a circle <lora:add_detail:0.8> <LyCO:b>",
            "a1111",
            ["'<lora:add_detail:0.8>' is read as words (2 such tags in all): use LoadLora to apply a LoRA"],
        ),
        (
            "a <lora:x:1>",
            "comfyui",
            ["'<lora:x:1>' is read as words (1 such tag in all): use LoadLora to apply a LoRA"],
        ),
        (
            "<hypernet:y:1> <lora:x:1> <hypernet:z:0.5>",
            "a1111",
            [
                "'<lora:x:1>' is read as words (1 such tag in all): use LoadLora to apply a LoRA",
                "'<hypernet:y:1>' is read as words (2 such tags in all): hypernetworks are not supported",
            ],
        ),
        (
            "red AND blue AND a",
            "a1111",
            ["AND is read as a word (2 in all): use ConditioningCombine to combine two prompts"],
        ),
        ("red AND blue", "comfyui", []),
        ("<lora:a:1> AND", "plain", []),
        ("a <3 b> SAND ANDROID and <lora>", "a1111", []),
    ],
)
def test_what_automatic1111_applies_and_no_encoder_reads_is_told(
    session: Session, text: str, grammar: str, told: list[str]
) -> None:
    events: list[Any] = []
    conditioning(session, events.append, text=text, grammar=grammar)
    found = [event.message for event in events if event.name == "node_warning" and event.code == "unread_syntax"]
    assert found == told


def test_a_copy_of_an_encoder_has_other_modules_and_the_same_tokenizer(encoder: TextEncoder) -> None:
    one, copied = encoder.encoders[0], copy.deepcopy(encoder).encoders[0]
    assert type(copied) is Encoder
    assert copied.tokenizer is one.tokenizer
    assert copied.model is not one.model
    assert (copied.name, copied.layer, copied.final_norm) == (one.name, one.layer, one.final_norm)
