"""A prompt's grammar takes time that grows with its length and no faster, whatever is in it."""

import contextlib
import time

import pytest

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_editing import variants
from latentloom.nodes.text.prompt_weights import parse
from latentloom.nodes.text.tokens import chunks

SIZE = 1_000_000
SECONDS = 20  # of the processor; each takes about one or less
WORST = {
    "digits": "(a:" + "1" * SIZE + "x)",
    "a number": "(a:" + "1" * SIZE + ")",
    "spaces": "(a:" + " " * SIZE + "x)",
    "colons": "(a" + ": 1" * (SIZE // 3) + "x)",
    "escapes": "\\(" * (SIZE // 2),
    "pairs inside": "(" * 20 + "(a)" * (SIZE // 3),
    "breaks": "BREAK " * (SIZE // 6),
}
EDITS = {
    "digits": "[a:" + "1" * SIZE + "x]",
    "spaces": "[a:" + " " * SIZE + "x]",
    "switches inside": "[a:" * 20 + "[a:b:0.5]" * (SIZE // 9) + ":0.5]" * 20,
    "turns of many": "".join(f"[{'|' * n}]" for n in range(1, 1400)),
    "open brackets": "[a:b\n" * 20 + "|:\n" * (SIZE // 3),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("grammar", ["a1111", "comfyui"])
@pytest.mark.parametrize("case", WORST)
def test_a_million_characters_are_read_in_linear_time(case: str, grammar: str) -> None:
    begin = time.process_time()

    with contextlib.suppress(BadValueError):
        parse(WORST[case], grammar)  # type: ignore[arg-type]

    assert time.process_time() - begin < SECONDS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", EDITS)
def test_a_million_characters_of_edits_are_read_in_linear_time(case: str) -> None:
    begin = time.process_time()

    with contextlib.suppress(BadValueError):
        variants(EDITS[case])

    assert time.process_time() - begin < SECONDS


class _Letters:
    """A tokenizer that makes a token of each letter."""

    model_max_length = 77

    def __call__(self, text: str, **_: object) -> "_Letters":
        self.input_ids = list(range(1, len(text) + 1))
        return self


@pytest.mark.parametrize("grammar", ["a1111", "comfyui"])
def test_one_long_word_is_cut_in_linear_time(grammar: str) -> None:
    begin = time.process_time()

    with pytest.raises(BadValueError, match="the prompt is too long"):
        chunks(parse("a" * SIZE), _Letters(), grammar)  # type: ignore[arg-type]

    assert time.process_time() - begin < SECONDS


@pytest.mark.parametrize(("letters", "pieces"), [(0, [0]), (74, [74]), (75, [75]), (76, [75, 1]), (151, [75, 75, 1])])
def test_a_word_longer_than_a_chunk_is_cut_where_the_chunk_is_full(letters: int, pieces: list[int]) -> None:
    found = chunks(parse("a" * letters, "comfyui"), _Letters(), "comfyui")

    assert [len(chunk) for chunk in found] == pieces
