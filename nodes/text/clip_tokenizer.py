"""CLIP's tokenizer, from the public vocabulary that ships in clip_vocabulary/."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
SIZE, START, END = 49408, "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID, LENGTH = 49406, 49407, 77


def clip_tokenizer(pad: Literal["end", "zero"]) -> CLIPTokenizer:
    """Return the tokenizer of CLIP. OpenAI's models pad with the end token, OpenCLIP's with token 0 ("!")."""
    from transformers import CLIPTokenizer

    merges = _merges()
    alphabet = _alphabet()
    words = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *(a + b for a, b in merges), START, END]
    tokenizer = CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)},
        merges=list(merges),
        model_max_length=LENGTH,
    )
    if pad == "zero":  # set after construction, so that a "!" in a text is not treated as padding
        tokenizer.pad_token = alphabet[0]
    return tokenizer


@cache
def _merges() -> tuple[tuple[str, str], ...]:
    """The merges that CLIP uses: as many as fit between the 512 letters and the two special tokens."""
    packed = resources.files("latentloom.nodes.text").joinpath("clip_vocabulary", VOCABULARY).read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")[1 : SIZE - 512 - 2 + 1]
    return tuple((a, b) for a, b in (line.split() for line in lines))


def _alphabet() -> list[str]:
    """A visible letter for each byte, in CLIP's order: printable bytes unchanged, then the others from 256."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]
