"""Prompt syntax of AUTOMATIC1111 that nodes replace here: tags of networks, and AND."""

import re
from collections.abc import Iterator

from latentloom.nodes.text.prompt_weights import Grammar

_TAG = re.compile(r"<(lora|lyco|hypernet):[^<>]{1,500}>", re.IGNORECASE)
_AND = re.compile(r"\bAND\b")


def unread_syntax(text: str, grammar: Grammar) -> Iterator[str]:
    """A message with a count for each kind of such syntax in a prompt; none in the plain grammar."""
    if grammar == "plain":
        return
    tags = [match[0] for match in _TAG.finditer(text)]
    if tags:
        count = f"{len(tags)} such tag{'s' * (len(tags) > 1)}"
        yield f"'{tags[0]}' is read as words ({count} in all): use LoadLora to apply a LoRA"
    count = len(_AND.findall(text))
    if count and grammar == "a1111":
        yield f"AND is read as a word ({count} in all): use ConditioningCombine to combine two prompts"
