"""The rows of a table of tokens."""

from collections.abc import Callable, Sequence
from typing import Any

from latentloom.nodes.drawing.sheet import GREY
from latentloom.nodes.drawing.table import Row
from latentloom.nodes.text.prompt_weights import Grammar, Section
from latentloom.nodes.text.token_table import Part, Read, read_prompt

UNKNOWN = "#c62828"
MAX_ROWS = 400


def token_rows(
    tokenizer: Any,
    text: str,
    grammar: Grammar,
    steps: int,
    embeddings: Callable[[Sequence[Section]], Sequence[Section]] = tuple,
) -> tuple[tuple[str, ...], list[Row], str]:
    """Return heading, rows and a note. Every part has a start and an end token; weights are shown if any is not 1."""
    parts = list(read_prompt(tokenizer, text, grammar, steps, embeddings))
    changes = len({part.variant for part in parts}) > 1
    weighed = any(token.weight != 1 for part in parts for token in part.tokens)
    rows: list[Row] = []
    last = None
    for part in parts:
        if changes and part.variant != last:
            rows.append(Row(("", "", _when(part, steps), *[""] * (1 + weighed)), GREY))
        last = part.variant
        rows.append(_special(tokenizer, tokenizer.bos_token_id, weighed=weighed))
        rows += [_row(token, weighed=weighed) for token in part.tokens]
        rows.append(_special(tokenizer, tokenizer.eos_token_id, weighed=weighed))
    heading = ("number", "token", "text", *(["weight"] if weighed else []), "known")
    note = _note(sum(len(part.tokens) + 2 for part in parts), len(parts), tokenizer)
    if len(rows) > MAX_ROWS:
        return heading, rows[:MAX_ROWS], f"{note}; the table shows the first {MAX_ROWS} lines"
    return heading, rows, note


def _when(part: Part, steps: int) -> str:
    share, times = f"steps {part.begin + 1} to {part.end} of {steps}", part.variant.times
    return share if times.period == 1 else f"{share}, text {times.turn + 1} of {times.period} in turn"


def _note(count: int, parts: int, tokenizer: Any) -> str:
    most = tokenizer.model_max_length
    if parts == 1:
        return f"{count} of {most} tokens; the rest is padding"
    return f"{count} tokens in {parts} parts of {most}; the rest is padding"


def _special(tokenizer: Any, number: int, *, weighed: bool) -> Row:
    name = tokenizer.convert_ids_to_tokens(number)
    return Row((str(number), name, *[""] * (2 + weighed)), GREY)


def _row(token: Read, *, weighed: bool) -> Row:
    weight = [f"{token.weight:.3g}"] if weighed else []
    number = "" if token.id is None else str(token.id)
    cells = (number, token.name, token.text, *weight, "yes" if token.known else "no")
    return Row(cells) if token.known else Row(cells, UNKNOWN)
