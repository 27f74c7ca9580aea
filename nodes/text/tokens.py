"""Converts sections of weighted text to chunks of tokens that fit a text encoder."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import Grammar, Section, Span

MAX_CHUNKS = 64
LOOK_BACK = 20  # AUTOMATIC1111: a chunk may end at a comma among its last 20 tokens
WHOLE_WORD = 8  # ComfyUI: a word of fewer tokens is not split


@dataclass(frozen=True, slots=True)
class Token:
    """A token's id and its weight; or the n-th vector of an embedding."""

    id: int
    weight: float = 1.0
    embedding: Any = None
    n: int = 0


Chunk = tuple[Token, ...]


def chunks(sections: Sequence[Section], tokenizer: Any, grammar: Grammar) -> list[Chunk]:
    """Return the chunks of an encoder, at least one, without start, end and padding.

    Each section starts a new chunk, except an empty section at the end. A long section is split: in AUTOMATIC1111's
    grammar after a comma near the chunk's end, or at the end if the next token is a comma; in ComfyUI's between words.
    Raises BadValueError for more than 64 chunks.
    """
    room = tokenizer.model_max_length - 2
    cut = _cut_at_words if grammar == "comfyui" else _cut_at_commas
    found = list(islice((chunk for s in sections for chunk in cut(s, tokenizer, room)), MAX_CHUNKS + 1))
    if len(found) > MAX_CHUNKS:
        raise BadValueError("the prompt is too long", expected=f"at most {MAX_CHUNKS * room} tokens", got="more")
    return found if found[-1] or len(found) == 1 else found[:-1]


def ids_of(chunk: Chunk, tokenizer: Any) -> list[int]:
    """Return the ids of a chunk as the model reads them: start, tokens, end, padding."""
    padding = tokenizer.model_max_length - 2 - len(chunk)
    body = [token.id for token in chunk]
    return [tokenizer.bos_token_id, *body, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding]


def weights_of(chunk: Chunk, tokenizer: Any) -> list[float]:
    """Return the weights for `ids_of`; start, end and padding have the weight 1."""
    padding = tokenizer.model_max_length - 2 - len(chunk)
    return [1.0, *(token.weight for token in chunk), *[1.0] * (padding + 1)]


def vectors_of(found: Sequence[Chunk], encoder: str) -> dict[tuple[int, int], Any]:
    """Return the vectors of embeddings for one encoder, by chunk and by position in `ids_of`."""
    return {
        (row, place): token.embedding.vectors[encoder][token.n]
        for row, chunk in enumerate(found)
        for place, token in enumerate(chunk, start=1)
        if token.embedding is not None
    }


def _numbers(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return found


def _embedded(span: Span) -> list[Token]:
    """The tokens of an embedding. Their id 0 is a placeholder; the vectors replace its embedding."""
    return [Token(0, span.weight, span.embedding, n) for n in range(len(span.embedding))]


def _cut_at_commas(section: Section, tokenizer: Any, room: int) -> Iterator[Chunk]:
    comma = _numbers(tokenizer, ",")
    line: list[Token] = []
    for span in section:
        for part in _parts(span, tokenizer):
            if len(line) == room and [part[0].id] != comma:
                end = _last_comma(line, comma)
                yield tuple(line[:end])
                line = line[end:]
            if len(line) + len(part) > room:
                yield tuple(line)
                line = []
            line += part
    yield tuple(line)


def _parts(span: Span, tokenizer: Any) -> Iterator[list[Token]]:
    """The units that are not split: a token, or all vectors of an embedding."""
    if span.embedding is not None:
        yield _embedded(span)
    else:
        yield from ([Token(number, span.weight)] for number in _numbers(tokenizer, span.text))


def _last_comma(line: list[Token], comma: list[int]) -> int:
    """Return the length of a full chunk: up to a comma among its last tokens, else all of it."""
    for end in range(len(line), max(0, len(line) - LOOK_BACK), -1):
        if [line[end - 1].id] == comma:
            return end
    return len(line)


def _cut_at_words(section: Section, tokenizer: Any, room: int) -> Iterator[Chunk]:
    line: list[Token] = []
    for span in section:
        words = [[Token(n, span.weight) for n in _numbers(tokenizer, word)] for word in re.findall(r"\S+", span.text)]
        for tokens in words if span.embedding is None else [_embedded(span)]:
            whole = span.embedding is not None or len(tokens) < WHOLE_WORD
            if whole and len(line) + len(tokens) > room:
                yield tuple(line)
                line = []
            line += tokens
            last = (len(line) - 1) // room * room if line else 0
            for start in range(0, last, room):
                yield tuple(line[start : start + room])
            line = line[last:]
    yield tuple(line)
