"""What writes a node type whose counterpart in ComfyUI differs in more than names, as one class or a few."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentloom.engine.document.workflow import Edge

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Writing:
    """One node that is written: its inputs with defaults, the defaults, and what it may call.

    `value` resolves an input of the node to a link or a literal, `add` writes a further node and returns the link to
    its first output, `note` adds a line to the report.
    """

    given: Given
    defaults: Given
    value: Callable[[Any], Any]
    add: Callable[[str, str, dict[str, Any]], list[Any]]
    note: Callable[[str, str], None]

    def named(self, names: str) -> dict[str, Any]:
        """Return inputs by ComfyUI's names, given as "ours=theirs", or as one word; None is left out."""
        pairs = (word.partition("=") for word in names.split())
        found = {theirs or ours: self.value(self.given.get(ours)) for ours, _, theirs in pairs}
        return {name: value for name, value in found.items() if value is not None}

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
