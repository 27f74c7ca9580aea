"""Finds the words of a prompt that a tokenizer does not know."""

import re
from typing import Any

SMALL_VOCABULARY = 2000
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Return the words without a token of their own, in order, if the vocabulary is small; else an empty list."""
    if len(tokenizer) > SMALL_VOCABULARY:
        return []
    words = dict.fromkeys(word.lower() for word in WORD.findall(text))
    return [word for word in words if len(tokenizer.tokenize(word)) != 1]
