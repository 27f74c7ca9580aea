"""The rows of a table of tokens: a prompt as the text encoder reads it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from latentloom.nodes.conditioning import WORD, unknown_words
from latentloom.nodes.prompt import Grammar, Section, parse
from latentloom.nodes.prompt_editing import Variant, variants
from latentloom.nodes.sheet import GREY
from latentloom.nodes.table import Row
from latentloom.nodes.tokens import chunks

UNKNOWN = "#c62828"
MAX_ROWS = 400


def token_rows(
    tokenizer: Any,
    text: str,
    grammar: Grammar,
    steps: int,
    embeddings: Callable[[Sequence[Section]], Sequence[Section]] = tuple,
) -> tuple[tuple[str, ...], list[Row], str]:
    """Heading, rows and a note: every part that is read has a start and an end; weights show where there are any."""
    found = variants(text, steps) if grammar == "a1111" else (Variant(text),)
    parts = [(one, embeddings(parse(one.text, grammar))) for one in found]
    weighed = any(span.weight != 1 for _, sections in parts for section in sections for span in section)
    rows: list[Row] = []
    count = 0
    for variant, sections in parts:
        if len(found) > 1:
            rows.append(Row(("", "", _when(variant), *[""] * (1 + weighed)), GREY))
        read = chunks(sections, tokenizer, grammar)
        count += sum(len(chunk) + 2 for chunk in read)
        words = _rows(tokenizer, sections, weighed=weighed)
        for chunk in read:
            rows += [_special(tokenizer, tokenizer.bos_token_id, weighed=weighed), *(next(words) for _ in chunk)]
            rows.append(_special(tokenizer, tokenizer.eos_token_id, weighed=weighed))
    heading = ("number", "token", "text", *(["weight"] if weighed else []), "known")
    note = _note(count, sum(row.cells[1] == tokenizer.bos_token for row in rows), tokenizer)
    if len(rows) > MAX_ROWS:
        return heading, rows[:MAX_ROWS], f"{note}; the table shows the first {MAX_ROWS} lines"
    return heading, rows, note


def _when(variant: Variant) -> str:
    share = f"{variant.start:.0%} to {variant.end:.0%} of the steps"
    return share if variant.period == 1 else f"{share}, step {variant.turn + 1} of every {variant.period}"


def _note(count: int, parts: int, tokenizer: Any) -> str:
    most = tokenizer.model_max_length
    if parts == 1:
        return f"{count} of {most} tokens; the rest is padding"
    return f"{count} tokens in {parts} parts of {most}; the rest is padding"


def _special(tokenizer: Any, number: int, *, weighed: bool) -> Row:
    name = tokenizer.convert_ids_to_tokens(number)
    return Row((str(number), name, *[""] * (2 + weighed)), GREY)


def _rows(tokenizer: Any, sections: Sequence[Section], *, weighed: bool) -> Iterator[Row]:
    """A row for each token of the text, and for each vector of an embedding, in order."""
    for span in (span for section in sections for span in section):
        if span.embedding is not None:
            weight, count = [f"{span.weight:.3g}"] if weighed else [], len(span.embedding)
            yield from (Row(("", f"vector {n + 1} of {count}", span.text, *weight, "yes")) for n in range(count))
            continue
        found = tokenizer(span.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        names = tokenizer.convert_ids_to_tokens(found.input_ids)
        strange = _strange(tokenizer, span.text)
        for number, name, (start, end) in zip(found.input_ids, names, found.offset_mapping, strict=True):
            known = not any(a <= start < b for a, b in strange)
            weight = [f"{span.weight:.3g}"] if weighed else []
            cells = (str(number), name, span.text[start:end], *weight, "yes" if known else "no")
            yield Row(cells) if known else Row(cells, UNKNOWN)


def _strange(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Where the words are that the model does not know."""
    unknown = set(unknown_words(tokenizer, text))
    return [match.span() for match in WORD.finditer(text) if match[0].lower() in unknown]
