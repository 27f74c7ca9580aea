"""Prompt syntax of AUTOMATIC1111 that nodes replace here: tags of networks, and AND."""

import re
from collections.abc import Iterator

from latentloom.nodes.text.prompt_weights import Grammar

_TAGS = {  # kind of tag -> what to do instead
    "lora|lyco": "use LoadLora to apply a LoRA",
    "hypernet": "hypernetworks are not supported",
}
_AND = re.compile(r"\bAND\b")


def unread_syntax(text: str, grammar: Grammar) -> Iterator[str]:
    """A message with a count for each kind of such syntax in a prompt; none in the plain grammar."""
    if grammar == "plain":
        return
    for kind, instead in _TAGS.items():
        tags = re.findall(rf"<(?:{kind}):[^<>]{{1,500}}>", text, re.IGNORECASE)
        if tags:
            count = f"{len(tags)} such tag{'s' * (len(tags) > 1)}"
            yield f"'{tags[0]}' is read as words ({count} in all): {instead}"
    count = len(_AND.findall(text))
    if count and grammar == "a1111":
        yield f"AND is read as a word ({count} in all): use ConditioningCombine to combine two prompts"
