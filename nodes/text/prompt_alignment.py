"""Aligns the tokens of an edited prompt with those of its source prompt."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

import numpy as np

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import parse
from latentloom.nodes.text.tokens import Chunk, chunks, ids_of, weights_of

Edit = Literal["replace", "refine"]


def one_chunk(tokenizer: Any, text: str, name: str) -> Chunk:
    """Return the tokens of a prompt that fits into one chunk. Raises BadValueError for a longer prompt."""
    found = chunks(parse(text), tokenizer, "a1111")
    if len(found) > 1:
        most = tokenizer.model_max_length - 2
        got = sum(len(chunk) for chunk in found)
        raise BadValueError(f"the {name} prompt is too long", expected=f"at most {most} tokens", got=str(got))
    return found[0]


def alignment(tokenizer: Any, source: Chunk, edited: Chunk, how: Edit) -> tuple[Any, Any, Any]:
    """Return mapper [T, T], kept [T] and weights [T] for `AttentionControl`, float32.

    "replace" pairs the prompts word by word; both must have the same number of words. "refine" keeps the tokens that
    both prompts share; new words use their own attention. The weights are those of the edited prompt.
    """
    ids = [ids_of(chunk, tokenizer) for chunk in (source, edited)]
    weights = np.float32(weights_of(edited, tokenizer))
    if how == "refine":
        return (*_refined(*ids), weights)
    words = (_words(tokenizer, chunk, one) for chunk, one in zip((source, edited), ids, strict=True))
    return _replaced(*words), np.ones_like(weights), weights


def _refined(source: list[int], edited: list[int]) -> tuple[Any, Any]:
    mapper, kept = np.zeros((len(source), len(edited)), np.float32), np.zeros(len(edited), np.float32)
    for block in SequenceMatcher(None, source, edited, autojunk=False).get_matching_blocks():
        for n in range(block.size):
            mapper[block.a + n, block.b + n] = kept[block.b + n] = 1
    return mapper, kept


def _words(tokenizer: Any, chunk: Chunk, ids: list[int]) -> list[list[int]]:
    """The token positions of each word; the start, the end and the padding count as words."""
    names = tokenizer.convert_ids_to_tokens([token.id for token in chunk])
    found: list[list[int]] = [[0], []]
    for place, name in enumerate(names, start=1):
        found[-1].append(place)
        if name.endswith("</w>"):
            found.append([])
    after = len(names) + 1
    return [*(word for word in found if word), [after], list(range(after + 1, len(ids)))]


def _replaced(source: Sequence[list[int]], edited: Sequence[list[int]]) -> Any:
    """Map each word's attention to its counterpart: token to token for equal token counts, else in equal shares."""
    if len(source) != len(edited):
        raise BadValueError(
            "the prompts do not have the same number of words",
            expected=f"{len(source) - 3} words, as the source has",
            got=str(len(edited) - 3),
            hint="choose refine for prompts with added or removed words",
        )
    size = sum(map(len, source))
    mapper = np.zeros((size, size), np.float32)
    for old, new in zip(source, edited, strict=True):
        if len(old) == len(new):
            mapper[old, new] = 1
        elif new:
            mapper[np.ix_(old, new)] = 1 / len(new)
    return mapper
