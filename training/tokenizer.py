"""The tokenizer: byte pairs learned from the grammar's words, in CLIPTokenizer's file format."""

import itertools
import json
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

LENGTH = 32
"""Tokens of one caption, start and end included."""
START, END = "<|startoftext|>", "<|endoftext|>"
STOP = "</w>"
"""Marks the end of a word inside a token."""


def alphabet() -> list[str]:
    """Return the 256 printable characters that represent bytes, in the order of GPT-2's vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = len([byte for byte in range(256) if byte not in plain])
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(moved)]


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte pairs that make every word one token.

    Pairs inside words come before pairs that end a word, so only whole words become tokens with an end mark.
    """
    pieces = [[*word[:-1], word[-1] + STOP] for word in words]
    merges: list[tuple[str, str]] = []
    for last in (False, True):
        while pairs := Counter(
            pair for word in pieces for pair in itertools.pairwise(word) if pair[1].endswith(STOP) == last
        ):
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            merges.append(best)
            pieces = [_merge(word, best) for word in pieces]
    return merges


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """Write vocab.json, merges.txt and the two configuration files."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(words)
    letters = alphabet()
    tokens = [*letters, *(letter + STOP for letter in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    _write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]), "utf-8")
    _write_json(folder / "tokenizer_config.json", settings)
    _write_json(folder / "special_tokens_map.json", special)


def _write_json(file: Path, data: dict[str, object] | dict[str, int]) -> None:
    file.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", "utf-8")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Load the tokenizer of a model folder."""
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
