from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from latentloom.training.scenes import words
from latentloom.training.tokenizer import END, LENGTH, START, load_tokenizer, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, words())
    return load_tokenizer(folder)


def test_every_word_of_the_grammar_is_one_token(tokenizer: CLIPTokenizer) -> None:
    assert {word: tokenizer.tokenize(word) for word in words()} == {word: [f"{word}</w>"] for word in words()}


@pytest.mark.parametrize("word", ["dragon", "reddish", "re", "circ", "ound", "Quixote", "café", "東京"])
def test_other_words_are_several_tokens(tokenizer: CLIPTokenizer, word: str) -> None:
    assert len(tokenizer.tokenize(word)) > 1


def test_capitals_make_no_difference(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer.tokenize("A Red CIRCLE") == tokenizer.tokenize("a red circle")


def test_all_of_ascii_can_be_encoded(tokenizer: CLIPTokenizer) -> None:
    for code in range(33, 127):
        assert tokenizer.decode(tokenizer.encode(chr(code), add_special_tokens=False)).strip() == chr(code).lower()


def test_a_caption_is_framed_and_padded_with_the_end_mark(tokenizer: CLIPTokenizer) -> None:
    tokens = tokenizer(["a red circle"], padding="max_length", truncation=True).input_ids[0]
    assert tokenizer.model_max_length == LENGTH == len(tokens)
    assert tokenizer.convert_ids_to_tokens(tokens)[:6] == [START, "a</w>", "red</w>", "circle</w>", END, END]


def test_the_vocabulary_is_small_and_written_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tokenizer(tmp_path / name, words())
    assert len(load_tokenizer(tmp_path / "one")) <= 1000
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
