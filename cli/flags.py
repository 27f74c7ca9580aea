"""Splits a command line into the command's own arguments, the workflow's name and the workflow's flags."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import typer


class Given(NamedTuple):
    """A flag of the workflow as typed, without its dashes. `text` is None if no value follows."""

    name: str
    text: str | None


class Split(NamedTuple):
    """A split command line: the command's own arguments, the workflow's name, and the workflow's flags."""

    own: list[str]
    name: str | None
    given: list[Given]


def split(args: Sequence[str], takes_value: Mapping[str, bool]) -> Split:
    """Split a command line. `takes_value` maps each of the command's flags to whether a value follows it.

    A value that begins with two dashes must be written --flag=VALUE. Raises BadParameter for a flag of the
    workflow before the workflow's name.
    """
    own: list[str] = []
    given: list[Given] = []
    name: str | None = None
    rest = list(reversed(args))
    while rest:
        token = rest.pop()
        flag, equals, text = token.partition("=")
        if flag in takes_value:
            own.append(token)
            if takes_value[flag] and not equals and rest:
                own.append(rest.pop())
        elif not token.startswith("--"):
            own.append(token)
            name = token if name is None else name
        elif name is None:
            raise typer.BadParameter(f"{flag} comes before the workflow's name, or is not a flag of this command")
        elif equals:
            given.append(Given(flag[2:], text))
        else:
            given.append(Given(flag[2:], rest.pop() if rest and not rest[-1].startswith("--") else None))
    return Split(own, name, given)
