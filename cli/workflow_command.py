"""Commands on a workflow: they accept the workflow's named inputs as flags in addition to their own."""

from typing import Any

from typer.core import TyperCommand

from latentloom.cli.flags import split


class WorkflowCommand(TyperCommand):
    """A command on a workflow; `ctx.meta["given"]` holds the workflow's flags, and --help lists its inputs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click. Parses the command's own part."""
        own, name, given = split(args, own_flags(self, ctx))
        ctx.meta.update(given=given, workflow=name)
        return list(super().parse_args(ctx, own))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """See click. Writes the command's help, then the inputs of the given workflow."""
        super().format_help(ctx, formatter)
        if ctx.meta["workflow"] is not None:
            from latentloom.cli.input_help import describe

            title, rows = describe(ctx.meta["workflow"])
            with formatter.section(title):
                formatter.write_dl(rows or [("none", "it has no named inputs")])


def own_flags(command: Any, ctx: Any) -> dict[str, bool]:
    """Return the flags of a command, and whether a value follows each."""
    return {
        flag: not option.is_flag
        for option in command.get_params(ctx)
        if option.param_type_name == "option"
        for flag in (*option.opts, *option.secondary_opts)
    }
