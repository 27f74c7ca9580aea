"""The entry point of `loom`: parses, dispatches, and turns every error into a message and an exit code."""

import os
import sys
from collections.abc import Sequence
from itertools import takewhile

import typer

from latentloom.cli.app import app

UsageError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment]  # click's; typer does not export it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code: 0 done, 2 invalid, 3 failed, 130 cancelled; verify and doctor also know 1."""
    args = list(sys.argv[1:] if argv is None else argv)
    # Threads of OpenMP that spin for long make steps crawl on a busy machine; those that never spin, on an idle one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # read when torch is imported; workers inherit it
    try:
        code = typer.main.get_command(app).main(args=args, prog_name="loom", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Abort:
        print("nothing was done", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from latentloom.cli import errors

        as_json = "--json" in args
        if isinstance(error, UsageError):
            return errors.usage(error, as_json=as_json)
        debug = "--debug" in takewhile(lambda arg: arg.startswith("-"), args)
        return errors.report(error, as_json=as_json, debug=debug)
