"""Tokenizers found beside weights and in a ComfyUI, and the same ids as the reference."""

import json
import random
from pathlib import Path

import pytest
from sentencepiece_files import field, spiece
from tiny_transformers import unigram_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from latentloom.engine.errors import FileError
from latentloom.nodes.text.tokenizer_files import TokenizerFiles

QWEN = TokenizerFiles("BPE", ("tokenizer", "qwen25_tokenizer"))
T5 = TokenizerFiles("Unigram", ("tokenizer_2", "t5_tokenizer", "tokenizer"))
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
    found = QWEN.load(folder / "qwen.safetensors")
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
    assert QWEN.find(tmp_path / "qwen.safetensors") == place
    assert QWEN.digest(tmp_path / "qwen.safetensors") == QWEN.digest(folder / "qwen.safetensors") != ""


def test_it_is_found_in_the_comfyui_that_the_weights_lie_in(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "comfy" / "text_encoders" / "qwen25_tokenizer"
    own.mkdir(parents=True)
    for file in folder.iterdir():
        (own / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "models" / "text_encoders" / "deep" / "qwen.safetensors"
    assert QWEN.find(weights) == own


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert QWEN.find(tmp_path / "qwen.safetensors") is None
    assert QWEN.digest(tmp_path / "qwen.safetensors") == ""
    with pytest.raises(FileError, match="has no tokenizer") as caught:
        QWEN.load(tmp_path / "qwen.safetensors")
    assert "a folder 'tokenizer' or 'qwen25_tokenizer' next to it" in str(caught.value.problem.expected)


def test_a_broken_tokenizer_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FileError, match="contains no readable tokenizer"):
        QWEN.load(tmp_path / "qwen.safetensors")


def test_the_tokenizer_of_another_encoder_in_the_same_folder_is_passed_over(folder: Path, tmp_path: Path) -> None:
    bpe = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    bpe.save(str(tmp_path / "tokenizer.json"))
    own = tmp_path / "t5_tokenizer"
    own.mkdir()
    unigram_tokenizer().save(str(own / "tokenizer.json"))
    assert T5.find(tmp_path / "t5.safetensors") == own
    assert QWEN.find(tmp_path / "qwen.safetensors") == tmp_path
    (own / "tokenizer.json").unlink()
    assert T5.find(tmp_path / "t5.safetensors") is None


def test_padding_and_cutting_that_a_file_asks_for_are_left_to_the_reader(tmp_path: Path) -> None:
    made = unigram_tokenizer()
    plain = made.encode("a red fox in a wood", add_special_tokens=False).ids
    made.enable_padding(length=40)
    made.enable_truncation(3)
    made.save(str(tmp_path / "tokenizer.json"))
    assert T5.load(tmp_path / "t5.safetensors").encode("a red fox in a wood", add_special_tokens=False).ids == plain


def test_a_sentencepiece_model_gives_the_ids_of_the_same_tokenizer(tmp_path: Path) -> None:
    reference = unigram_tokenizer()
    (tmp_path / "spiece.model").write_bytes(spiece(reference))
    found = T5.load(tmp_path / "t5.safetensors")
    draw = random.Random(0)
    words = ["a", "red", "fox", "wood,", "lake", "zzz", "and grey", "night"]
    for _ in range(2_000):
        text = "".join(draw.choice(words) + draw.choice([" ", "  "]) for _ in range(draw.randint(0, 9)))
        wanted = reference.encode(text, add_special_tokens=False).ids
        assert found.encode(text, add_special_tokens=False).ids == wanted, text


@pytest.mark.parametrize("data", [b"\xff" * 40, b"", field(1, field(1, b"a"))[:-1], field(1, field(1, b"a"))])
def test_bytes_that_are_no_sentencepiece_model_are_an_error_of_the_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "spiece.model").write_bytes(data)
    with pytest.raises(FileError, match="contains no readable tokenizer"):
        T5.load(tmp_path / "t5.safetensors")
