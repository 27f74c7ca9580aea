"""Tokenizers inside the files of text encoders, and the vocabulary that ships for Qwen."""

import json
import lzma
import random
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import close
from sentencepiece_files import spiece
from tiny_transformers import unigram_tokenizer, write
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from latentloom.engine.errors import FileError
from latentloom.nodes.families.qwen import TOKENIZER as QWEN
from latentloom.nodes.families.t5 import TOKENIZER as T5
from latentloom.nodes.families.unused import harmless
from latentloom.nodes.text.qwen_tokenizer import SHA256, SPECIAL, VOCABULARY, qwen_rules

PIECES = ["fox", " a", "  ", "\n", "\r\n ", "it's", "IT'LL", "1234", "é", "e\u0301", "猫が", "!?", "...", SPECIAL[1]]
WORDS = ["a", "red", "fox", "wood,", "lake", "zzz", "and grey", "night"]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def texts(pieces: list[str], between: list[str], count: int = 2000) -> list[str]:
    draw = random.Random(0)
    return [
        "".join(draw.choice(pieces) + draw.choice(between) for _ in range(draw.randint(0, 12))) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    """A byte-pair encoding with Qwen's rules and few tokens."""
    made = Tokenizer(models.BPE())
    qwen_rules(made)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["a red fox it's IT'LL 1234 猫が é", *PIECES] * 20, trainer)
    made.add_special_tokens(list(SPECIAL[:3]))
    return made


def encoder(path: Path, rows: int, **more: torch.Tensor) -> Path:
    """A file with the token embeddings of a Qwen and nothing else."""
    return write({"model.embed_tokens.weight": torch.zeros(rows, 1, dtype=torch.float16), **more}, path)


def metadata_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The metadata that llama.cpp writes for a byte-pair encoding."""
    said = json.loads(tokenizer.to_str())
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = {token["content"] for token in said["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in said["model"]["merges"]]
    types = [3 if token in added else 1 for token in tokens]
    return {"model": "gpt2", "pre": "qwen2", "tokens": tokens, "merges": merges, "token_type": types}


def ggml(path: Path, facts: Mapping[str, Any]) -> Path:
    writer = gguf.GGUFWriter(path, "qwen3")
    for name, value in facts.items():
        add = writer.add_array if isinstance(value, list) else writer.add_string
        add(f"tokenizer.ggml.{name}", value)
    writer.add_tensor("token_embd.weight", np.zeros((400, 4), np.float32))
    close(writer)
    return path


def test_the_shipped_vocabulary_is_the_public_one() -> None:
    packed = resources.files("latentloom.nodes.text").joinpath("qwen_vocabulary", VOCABULARY).read_bytes()
    assert sha256(lzma.decompress(packed)).hexdigest() == SHA256


def test_a_qwen_without_a_tokenizer_gets_the_shipped_one(tmp_path: Path) -> None:
    weights = encoder(tmp_path / "qwen_3_4b.safetensors", 151_936)
    assert QWEN.digest(weights) == SHA256
    made = QWEN.load(weights)
    assert ids(made, "Hello, world!") == [9707, 11, 1879, 0]
    assert ids(made, "<|im_start|>user\n<think>") == [151644, 872, 198, 151667]
    assert (made.padding, made.truncation) == (None, None)


def test_a_tokenizer_beside_the_weights_comes_before_the_shipped_one(tmp_path: Path, small: Tokenizer) -> None:
    weights = encoder(tmp_path / "qwen_3_4b.safetensors", 151_936)
    (tmp_path / "tokenizer").mkdir()
    small.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    assert QWEN.digest(weights) != SHA256
    assert QWEN.load(weights).get_vocab_size() == small.get_vocab_size()


def test_a_model_with_fewer_rows_than_the_vocabulary_does_not_get_it(tmp_path: Path) -> None:
    weights = encoder(tmp_path / "qwen.safetensors", 151_668)
    assert QWEN.digest(weights) == ""
    with pytest.raises(FileError, match=r"'qwen\.safetensors' has no tokenizer"):
        QWEN.load(weights)


def test_gguf_metadata_give_the_ids_of_the_tokenizer(tmp_path: Path, small: Tokenizer) -> None:
    weights = ggml(tmp_path / "qwen.gguf", metadata_of(small))
    assert QWEN.digest(weights) == "inside"
    made = QWEN.load(weights)
    for text in texts(PIECES, ["", " "]):
        assert ids(made, text) == ids(small, text), text


def test_gguf_metadata_of_a_unigram_give_the_ids_of_the_tokenizer(tmp_path: Path) -> None:
    reference = unigram_tokenizer()
    pieces = json.loads(reference.to_str())["model"]["vocab"]
    facts = {"model": "t5", "tokens": [text for text, _ in pieces], "scores": [score for _, score in pieces]}
    facts["token_type"] = [{"<unk>": 2, "<pad>": 3, "</s>": 3}.get(text, 1) for text, _ in pieces]
    made = T5.load(ggml(tmp_path / "t5.gguf", facts))
    for text in texts(WORDS, [" ", "  "]):
        assert ids(made, text) == ids(reference, text), text


def test_a_tensor_with_a_sentencepiece_model_is_the_tokenizer(tmp_path: Path) -> None:
    reference = unigram_tokenizer()
    inside = torch.frombuffer(bytearray(spiece(reference)), dtype=torch.uint8)
    weights = write({"shared.weight": torch.zeros(64, 4), "spiece_model": inside}, tmp_path / "t5.safetensors")
    assert T5.digest(weights) == "inside"
    made = T5.load(weights)
    for text in texts(WORDS, [" ", "  "], 200):
        assert ids(made, text) == ids(reference, text), text
    assert harmless("spiece_model")


def test_a_tensor_with_a_json_document_is_the_tokenizer(tmp_path: Path, small: Tokenizer) -> None:
    inside = torch.frombuffer(bytearray(small.to_str().encode()), dtype=torch.uint8)
    weights = encoder(tmp_path / "qwen.safetensors", 400, tokenizer_json=inside)
    assert ids(QWEN.load(weights), "a red fox") == ids(small, "a red fox")


@pytest.mark.parametrize(
    "change",
    [
        {"pre": "llama-bpe"},
        {"token_type": [1, 1]},
        {"merges": ["only"]},
        {"merges": ["nothing here"]},
    ],
)  # fmt: skip
def test_metadata_that_make_no_tokenizer_are_an_error_of_the_file(
    tmp_path: Path, small: Tokenizer, change: dict[str, Any]
) -> None:
    weights = ggml(tmp_path / "qwen.gguf", {**metadata_of(small), **change})
    with pytest.raises(FileError, match=r"'qwen\.gguf' contains no readable tokenizer"):
        QWEN.load(weights)


def test_metadata_without_an_array_are_an_error_of_the_file(tmp_path: Path, small: Tokenizer) -> None:
    facts = metadata_of(small)
    del facts["merges"]
    with pytest.raises(FileError, match="contains no readable tokenizer"):
        QWEN.load(ggml(tmp_path / "qwen.gguf", facts))


def test_a_tokenizer_of_another_kind_is_not_inside(tmp_path: Path, small: Tokenizer) -> None:
    weights = ggml(tmp_path / "qwen.gguf", metadata_of(small))
    assert T5.digest(weights) == ""


def test_bytes_that_are_no_tokenizer_are_an_error_of_the_file(tmp_path: Path) -> None:
    weights = encoder(tmp_path / "qwen.safetensors", 400, tokenizer_json=torch.zeros(9, dtype=torch.uint8))
    with pytest.raises(FileError, match="contains no readable tokenizer"):
        QWEN.load(weights)
