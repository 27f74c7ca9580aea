"""The entry point of `loom`: parses the command line, runs the command, and converts errors to exit codes."""

import os
import sys
from collections.abc import Sequence
from itertools import takewhile

import typer

from latentloom.cli.app import app

UsageError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment]  # click's; typer does not export it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 invalid, 3 failed, 130 cancelled; 1 for verify and doctor."""
    args = list(sys.argv[1:] if argv is None else argv)
    # OpenMP threads that spin long slow down a busy machine; threads that never spin slow down an idle one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # read at the import of torch; workers inherit it
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
