"""Text encoders hold tokenizers, which nothing changes: copies of an encoder share its tokenizer."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, Self


class TokenizerHolder:
    """A dataclass with a field `tokenizer`. A deep copy has the same tokenizer: a vocabulary takes 0.2 s to copy."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self)] = made = copy.copy(self)
        for name in (field.name for field in fields(self) if field.name != "tokenizer"):
            object.__setattr__(made, name, copy.deepcopy(getattr(self, name), memo))
        return made
