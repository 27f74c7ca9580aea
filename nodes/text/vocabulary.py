"""Which words of a prompt a tokenizer knows."""

import re
from typing import Any

SMALL_VOCABULARY = 2000
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """The words that a model with a small vocabulary of its own has no token for, in order; else none."""
    if len(tokenizer) > SMALL_VOCABULARY:
        return []
    words = dict.fromkeys(word.lower() for word in WORD.findall(text))
    return [word for word in words if len(tokenizer.tokenize(word)) != 1]
