"""Tokenizers in the metadata of GGUF files (`tokenizer.ggml.*`; ggml/docs/gguf.md, MIT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latentloom.nodes.text.byte_pairs import split_words
from latentloom.nodes.text.qwen_tokenizer import qwen_rules
from latentloom.nodes.text.sentencepiece import unigram_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PREFIX = "tokenizer.ggml."
CONTROL, USER_DEFINED = 3, 4  # types of tokens that a text names as a whole
KINDS = {"gpt2": "BPE", "t5": "Unigram"}
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def ggml_tokenizer(facts: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer of a file's metadata; `facts` are without the prefix.

    Known are byte-pair encodings with the words of Qwen2 or of Mistral's Tekken, and T5's unigram model.
    Raises ValueError or KeyError.
    """
    kind = facts["model"]
    if kind == "gpt2":
        return _byte_pairs(facts)
    if kind == "t5":
        pieces = zip(facts["tokens"], facts["scores"], facts["token_type"], strict=True)
        return unigram_of(list(pieces), bytes(facts.get("precompiled_charsmap", ())))
    raise ValueError(f"a tokenizer of the kind '{kind}'")


def _byte_pairs(facts: Mapping[str, Any]) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, models

    tokens: Sequence[str] = facts["tokens"]
    merges = [tuple(pair.split(" ", 1)) for pair in facts["merges"]]
    made = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    words = facts.get("pre", "qwen2")
    if words == "qwen2":
        qwen_rules(made)
    elif words == "tekken":
        split_words(made, TEKKEN)
    else:
        raise ValueError(f"the splitting into words '{words}'")
    types = zip(tokens, facts["token_type"], strict=True)
    made.add_tokens(
        [
            AddedToken(token, special=type == CONTROL, normalized=False)
            for token, type in types
            if type in (CONTROL, USER_DEFINED)
        ]
    )
    return made
