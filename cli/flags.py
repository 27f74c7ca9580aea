"""Commands whose flags are partly the workflow's: what the command does not know itself is set aside as typed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand


class Given(NamedTuple):
    """A flag of the workflow as it was typed, without its dashes; `text` is None when no value followed."""

    name: str
    text: str | None


class Split(NamedTuple):
    """A command line taken apart: the command's own arguments, the workflow's name, and the workflow's flags."""

    own: list[str]
    name: str | None
    given: list[Given]


def split(args: Sequence[str], takes_value: Mapping[str, bool]) -> Split:
    """Take a command line apart. `takes_value` tells of each own flag whether a value follows it.

    A value that begins with two dashes must be written --flag=VALUE. Raises BadParameter for a flag of the
    workflow that comes before the workflow's name.
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
            raise typer.BadParameter(f"{flag} comes before the workflow's name, or is no flag of this command")
        elif equals:
            given.append(Given(flag[2:], text))
        else:
            given.append(Given(flag[2:], rest.pop() if rest and not rest[-1].startswith("--") else None))
    return Split(own, name, given)


class WorkflowCommand(TyperCommand):
    """A command on a workflow; `ctx.meta["given"]` holds the workflow's flags, and --help lists its inputs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click: parse the command's own part."""
        own, name, given = split(args, own_flags(self, ctx))
        ctx.meta.update(given=given, workflow=name)
        return list(super().parse_args(ctx, own))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See click: the command's help, then the inputs of the workflow that is named."""
        super().format_help(ctx, formatter)
        if ctx.meta["workflow"] is not None:
            from latentloom.cli.inputs import describe

            title, rows = describe(ctx.meta["workflow"])
            with formatter.section(title):
                formatter.write_dl(rows or [("none", "it has no named inputs")])


def own_flags(command: Any, ctx: Any) -> dict[str, bool]:
    """The flags of a command, and whether a value follows each."""
    return {
        flag: not option.is_flag
        for option in command.get_params(ctx)
        if option.param_type_name == "option"
        for flag in (*option.opts, *option.secondary_opts)
    }
