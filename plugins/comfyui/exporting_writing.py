"""What writes a node type whose counterpart in ComfyUI differs in more than names, as one class or a few."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentloom.engine.document.workflow import Edge

Given = Mapping[str, Any]
_FIELD = re.compile(r"[-_ ]?\{(\w{1,40})\}")


def prefix(name: Any, note: Callable[[str, str], None]) -> str:
    """Return the prefix of a name template without its fields. ComfyUI adds its own counter."""
    left = sorted(set(_FIELD.findall(str(name))) - {"counter"})
    if left:
        note("lost", f"the parts of the name that are filled in: {', '.join(left)}")
    return _FIELD.sub("", str(name)) or "Latentloom"


@dataclass(frozen=True, slots=True)
class Writing:
    """One node that is written: its inputs with defaults, the defaults, and what it may call.

    `value` resolves an input of the node to a link or a literal, `add` writes a further node and returns the link to
    its first output, `note` adds a line to the report, `above` returns the node that a link comes from, with its type.
    """

    given: Given
    defaults: Given
    value: Callable[[Any], Any]
    add: Callable[[str, str, dict[str, Any]], list[Any]]
    note: Callable[[str, str], None]
    above: Callable[[Any], "tuple[str, Writing] | None"]

    def behind(self, name: str) -> "tuple[str, Writing] | None":
        """Return the type of the node that an input comes from, and what writes it; None for a literal."""
        return self.above(self.given.get(name))

    def clip(self) -> dict[str, Any]:
        """Return the input `clip`, with a further node for the layers that are skipped."""
        skip, clip = self.given.get("clip_skip", 1), self.named("clip")
        if skip == 1:
            return clip
        if isinstance(skip, Edge):
            self.note("lost", "'clip_skip' comes from another node, and has to be written there")
            return clip
        return {"clip": self.add("skip", "CLIPSetLastLayer", {**clip, "stop_at_clip_layer": -skip})}

    def named(self, names: str) -> dict[str, Any]:
        """Return inputs by ComfyUI's names, given as "ours=theirs", or as one word; None is left out.

        The default of an input counts where its link is lost.
        """
        pairs = (word.partition("=") for word in names.split())
        found = {theirs or ours: self._or_default(ours) for ours, _, theirs in pairs}
        return {name: value for name, value in found.items() if value is not None}

    def _or_default(self, name: str) -> Any:
        value = self.value(self.given.get(name))
        return self.defaults.get(name) if value is None else value

    def option(self, name: str) -> Any:
        """Return an input that must be a literal; its default if it comes from another node, which is reported."""
        value = self.given[name]
        if not isinstance(value, Edge):
            return value
        self.note("lost", f"'{name}' comes from another node, and has to be written there; its default counts")
        return self.defaults[name]

    def items(self, name: str) -> list[Any]:
        """Return the items of a list input that lead somewhere."""
        given = self.given.get(name)
        parts = list(given) if isinstance(given, (list, tuple)) else [given]
        return [value for part in parts if (value := self.value(part)) is not None]

    def chain(self, type: str, first: str, second: str, values: list[Any], **more: Any) -> dict[str, Any]:
        """Return the inputs of the last of several nodes of two inputs, and write those before it."""
        source = values[0] if values else None
        for number, value in enumerate(values[1:-1], 2):
            source = self.add(str(number), type, {first: source, second: value, **more})
        return {first: source, second: values[-1] if len(values) > 1 else source, **more}


class Built(NamedTuple):
    """A node type that needs more than other names: how it is written, its outputs in ComfyUI's order, its inputs."""

    build: Callable[[Writing], tuple[str, dict[str, Any]]]
    outputs: tuple[str, ...]
    reads: frozenset[str]


def built(outputs: str, reads: str) -> Callable[[Callable[[Writing], tuple[str, dict[str, Any]]]], Built]:
    """Return the decorator for a function that writes a node type with these outputs and inputs."""
    return lambda build: Built(build, tuple(outputs.split()), frozenset(reads.split()))


FILTERS = {"nearest": "nearest-exact"}
