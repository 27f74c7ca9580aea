"""A prompt as the text encoder reads it: parts of tokens, each token with its text and its weight."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from latentloom.nodes.text.prompt_editing import Variant, variants
from latentloom.nodes.text.prompt_weights import Grammar, Section, parse
from latentloom.nodes.text.tokens import chunks
from latentloom.nodes.text.vocabulary import WORD, unknown_words


@dataclass(frozen=True, slots=True)
class Read:
    """A token: its id and name in the vocabulary, its text, its weight, and whether the model knows the word.

    A vector of an embedding has no id.
    """

    id: int | None
    name: str
    text: str
    weight: float
    known: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One chunk of the encoder, without start, end and padding, for the steps from `begin` to before `end`."""

    variant: Variant
    begin: int
    end: int
    tokens: tuple[Read, ...]


def read_prompt(
    tokenizer: Any,
    text: str,
    grammar: Grammar,
    steps: int,
    embeddings: Callable[[Sequence[Section]], Sequence[Section]] = tuple,
) -> Iterator[Part]:
    """The parts of a prompt in order, at least one. Raises BadValueError if it is too long or nested too deep."""
    for variant in variants(text) if grammar == "a1111" else (Variant((text,)),):
        begin, end = variant.times.span(steps)
        if begin >= end:
            continue
        sections = embeddings(parse(variant.text, grammar))
        tokens = (token for section in sections for token in _read(tokenizer, section))
        for chunk in chunks(sections, tokenizer, grammar):
            yield Part(variant, begin, end, tuple(next(tokens) for _ in chunk))


def _read(tokenizer: Any, section: Section) -> Iterator[Read]:
    for span in section:
        if span.embedding is not None:
            count = len(span.embedding)
            names = [f"vector {n + 1} of {count}" for n in range(count)]
            yield from (Read(None, name, span.text, span.weight, True) for name in names)
            continue
        found = tokenizer(span.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        names = tokenizer.convert_ids_to_tokens(found.input_ids)
        strange = _strange(tokenizer, span.text)
        for id, name, (start, end) in zip(found.input_ids, names, found.offset_mapping, strict=True):
            known = not any(a <= start < b for a, b in strange)
            yield Read(id, name, span.text[start:end], span.weight, known)


def _strange(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """The spans of the words that the model does not know."""
    unknown = set(unknown_words(tokenizer, text))
    return [match.span() for match in WORD.finditer(text) if match[0].lower() in unknown]


def as_json(part: Part, steps: int) -> dict[str, Any]:
    """Return a part as the server sends it, with its steps as shares of all steps."""
    times = part.variant.times
    tokens = [{"id": t.id, "text": t.text, "weight": round(t.weight, 4), "known": t.known} for t in part.tokens]
    when = {"start": part.begin / steps, "end": part.end / steps, "turn": times.turn, "period": times.period}
    return {**when, "count": len(tokens) + 2, "tokens": tokens}
