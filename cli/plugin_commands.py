"""The commands of `loom plugins` with their flags."""

from typing import Annotated

import typer

plugins = typer.Typer(help="List the plugins and packs, and how they fared.", invoke_without_command=True)


@plugins.callback()
def _plugins(
    ctx: typer.Context,
    trace: Annotated[str | None, typer.Option("--trace", help="Print why this plugin failed.")] = None,
    pack: Annotated[
        str | None, typer.Option("--pack", metavar="NAME", help="List the classes of a pack of ComfyUI's.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Inspect those that failed again.")] = False,
) -> int | None:
    from latentloom.cli.plugins import list_pack, plugins

    if ctx.invoked_subcommand is not None:
        return None
    return plugins(trace, again=again) if pack is None else list_pack(pack)
