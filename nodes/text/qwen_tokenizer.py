"""Qwen's tokenizer: its rules, and the public vocabulary of Qwen2.5 and Qwen3 that ships in qwen_vocabulary/."""

from __future__ import annotations

import base64
import lzma
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from latentloom.nodes.text.byte_pairs import byte_pairs, split_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = "qwen.tiktoken.xz"
SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"  # of the vocabulary, uncompressed
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
ADDED = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
SIZE = 151_643 + len(SPECIAL) + len(ADDED)  # ids of the tokenizer; a model may have more rows


def qwen_rules(tokenizer: Tokenizer) -> None:
    """Give a tokenizer the normalization (NFC) and the splitting into words of Qwen2."""
    from tokenizers import normalizers

    tokenizer.normalizer = normalizers.NFC()
    split_words(tokenizer, WORDS)


@lru_cache(maxsize=1)
def _ranks() -> dict[bytes, int]:
    packed = resources.files("latentloom.nodes.text").joinpath("qwen_vocabulary", VOCABULARY).read_bytes()
    pairs = (line.split() for line in lzma.decompress(packed).splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def qwen_tokenizer() -> Tokenizer:
    """Return the tokenizer of Qwen2.5 and Qwen3 from the vocabulary that ships."""
    from tokenizers import AddedToken

    made = byte_pairs(_ranks(), {})
    qwen_rules(made)
    made.add_tokens([AddedToken(text, special=text in SPECIAL, normalized=False) for text in (*SPECIAL, *ADDED)])
    return made
