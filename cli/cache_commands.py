"""The commands of `loom cache` with their flags."""

from typing import Annotated

import typer

cache = typer.Typer(help="Show, prune and clear the cache on disk.", invoke_without_command=True)


@cache.callback()
def _cache(ctx: typer.Context) -> int | None:
    return cache_info() if ctx.invoked_subcommand is None else None


@cache.command("info")
def cache_info() -> int:
    """Show the contents and the size of the cache."""
    from latentloom.cli.cache import info

    return info()


@cache.command("prune")
def prune_cache(to: Annotated[str, typer.Option("--to", metavar="SIZE", help="Such as 500MB or 2GiB.")]) -> int:
    """Remove the least recently used values until the cache fits a size."""
    from latentloom.cli.cache import prune

    return prune(to)


@cache.command("clear")
def clear_cache(yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False) -> int:
    """Remove everything from the cache."""
    from latentloom.cli.cache import clear

    return clear(ask=not yes)
