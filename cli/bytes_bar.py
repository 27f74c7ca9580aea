"""A bar for bytes: hashing and downloading."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from latentloom.cli.errors import plain


@contextmanager
def bytes_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (bytes done, bytes in all, 0 = not known) that draws a bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(plain(title), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)
