"""`loom cache`: show, prune and clear the disk cache."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from latentloom.cli.sizes import size_of
from latentloom.cli.table import print_lines, size_text
from latentloom.engine.cache.disk import DiskStore
from latentloom.engine.errors import SettingsError
from latentloom.engine.settings import load_settings


@contextmanager
def _store() -> Iterator[DiskStore]:
    settings = load_settings()
    if settings.cache.exists() and not settings.cache.is_dir():
        raise SettingsError("the cache folder is a file", got=str(settings.cache))
    store = DiskStore(settings.cache, settings.cache_bytes, notice=lambda code, message: print_lines([message]))
    try:
        yield store
    finally:
        store.close()


def info() -> int:
    """Print the number of entries and their bytes."""
    settings = load_settings()
    with _store() as store:
        facts = store.info()
    lines = [
        f"folder       {settings.cache}",
        f"results      {facts['results']}",
        f"values       {facts['values']}",
        f"size         {size_text(facts['bytes'])} of {size_text(facts['limit_bytes'])}",
        f"quarantined  {facts['quarantined']}",
        *([f"unfinished   {facts['kept']} (steps that were ended and can go on)"] if facts["kept"] else []),
    ]
    print_lines([*lines, *([] if settings.cache_bytes else ["the disk cache is off (cache_bytes = 0)"])])
    return 0


def prune(to: str) -> int:
    """Remove the least recently used results and values down to a size; the state of unfinished steps goes last."""
    limit = size_of(to)
    with _store() as store:
        freed = store.prune(limit)
        left = store.info()["bytes"]
    print_lines([f"{size_text(freed)} freed, {size_text(left)} left"])
    return 0


def clear(*, ask: bool) -> int:
    """Remove everything, after a confirmation."""
    settings = load_settings()
    if ask:
        typer.confirm(f"Remove everything from the cache at {settings.cache}?", abort=True)
    with _store() as store:
        store.clear()
    print_lines([f"the cache at {settings.cache} is empty"])
    return 0
