"""Tokenizers found beside weights and in a ComfyUI, and the same ids as the reference."""

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from latentloom.engine.errors import FileError
from latentloom.nodes.text.tokenizer_files import find_tokenizer, load_tokenizer, tokenizer_digest

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PIECES = [
    "fox",
    " a",
    "  ",
    "\n",
    "\r\n ",
    "it's",
    "IT'LL",
    "1234",
    "é",
    "e\u0301",
    "ﬁ",
    "猫が",
    "!?",
    "...",
    "\t",
    "<|im_end|>",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BPE in the files of GPT-2's layout, as Qwen's is."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["a red fox it's IT'LL 1234 猫が é", *PIECES] * 20, trainer)
    place: Path = tmp_path_factory.mktemp("tokenizer")
    made.model.save(str(place))
    first = made.get_vocab_size()
    added = {str(first + n): {"content": text, "special": True} for n, text in enumerate(SPECIAL)}
    (place / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    return place


def test_ids_are_those_of_transformers_on_ten_thousand_texts(folder: Path) -> None:
    found = load_tokenizer(folder)
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    reference = Qwen2Tokenizer(vocab=json.loads((folder / "vocab.json").read_text()), merges=merges)
    reference.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    draw = random.Random(0)
    for _ in range(10_000):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 12)))
        assert found.encode(text, add_special_tokens=False).ids == reference.encode(text, add_special_tokens=False), (
            text
        )


@pytest.mark.parametrize("where", [".", "tokenizer", "qwen25_tokenizer"])
def test_it_is_found_beside_the_weights(folder: Path, tmp_path: Path, where: str) -> None:
    place = tmp_path / where
    place.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    assert find_tokenizer(tmp_path / "qwen.safetensors", ("tokenizer", "qwen25_tokenizer")) == place
    assert tokenizer_digest(place) == tokenizer_digest(folder)


def test_it_is_found_in_the_comfyui_that_the_weights_lie_in(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "comfy" / "text_encoders" / "qwen25_tokenizer"
    own.mkdir(parents=True)
    for file in folder.iterdir():
        (own / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "models" / "text_encoders" / "deep" / "qwen.safetensors"
    assert find_tokenizer(weights, ("qwen25_tokenizer",)) == own


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert find_tokenizer(tmp_path / "qwen.safetensors", ("tokenizer",)) is None


def test_a_broken_tokenizer_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FileError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
