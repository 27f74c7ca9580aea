"""The commands of `loom plugins` with their flags."""

from pathlib import Path
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


@plugins.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, the prefix of its node types.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Write the new folder here.")] = Path(),
) -> int:
    """Write a plugin to start from: a package with a node, its test and a README."""
    from latentloom.cli.new_plugin import new_plugin

    return new_plugin(name, to)


@plugins.command("isolate")
def isolate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, the prefix of its node types.")],
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
) -> int:
    """Let a plugin's nodes run in a process of their own."""
    from latentloom.cli.plugins import isolate

    return isolate(name, off=off)
