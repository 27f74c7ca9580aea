"""What AUTOMATIC1111 takes out of a prompt before it is read, and nodes do here: tags of networks, and AND."""

import re
from collections.abc import Iterator

from latentloom.nodes.text.prompt_weights import Grammar

_TAG = re.compile(r"<(lora|lyco|hypernet):[^<>]{1,500}>", re.IGNORECASE)
_AND = re.compile(r"\bAND\b")


def unread_syntax(text: str, grammar: Grammar) -> Iterator[str]:
    """A message for each kind of syntax in a prompt that is read as words, with a count; none in plain grammar."""
    if grammar == "plain":
        return
    tags = [match[0] for match in _TAG.finditer(text)]
    if tags:
        count = f"{len(tags)} such tag{'s' * (len(tags) > 1)}"
        yield f"'{tags[0]}' is read as words ({count} in all): LoadLora loads a LoRA"
    count = len(_AND.findall(text))
    if count and grammar == "a1111":
        yield f"AND is read as a word ({count} in all): ConditioningCombine joins two prompts"
