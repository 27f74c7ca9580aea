"""Prints errors on the command line: problems as text or JSON, and a traceback only on request."""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

from latentloom.engine.errors import Cancelled, LoomError, NodeError, Problem

INVALID, FAILED, CANCELLED = 2, 3, 130


class Failure(LoomError):
    """A valid request failed, for instance a download or a comparison."""

    code = "failed"


def report(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Print an error and return its exit code."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    problems = error.problems if isinstance(error, LoomError) else (_unexpected(error, debug=debug),)
    code = exit_code(error)
    show(problems, {INVALID: "invalid", CANCELLED: "cancelled"}.get(code, "failed"), as_json=as_json)
    return code


def exit_code(error: Exception) -> int:
    """Return 2 for errors of the user's input before anything runs, 3 for failures, 130 for a cancelled run."""
    if isinstance(error, Cancelled):
        return CANCELLED
    if isinstance(error, Failure | NodeError) or not isinstance(error, LoomError):
        return FAILED
    if error.code == "server_unreachable":
        return FAILED
    return INVALID


def usage(error: Any, *, as_json: bool) -> int:
    """Print a usage error."""
    if as_json:
        show([Problem(code="usage", message=error.format_message())], "invalid", as_json=True)
    else:
        error.show()
    return INVALID


def show(problems: Sequence[Problem], status: str, *, as_json: bool) -> None:
    """Print problems as JSON on stdout, or as text on stderr."""
    if as_json:
        print_json({"status": status, "problems": [problem.record() for problem in problems]})
        return
    for problem in problems:
        say(f"{problem.code}: {problem}")
    if len(problems) > 1:
        say(f"{len(problems)} problems")


def print_json(data: dict[str, Any]) -> None:
    """Print a JSON object on stdout, in ASCII, so that it is safe in any pipe. NaN and infinities become text."""
    strict = json.loads(json.dumps(data), parse_constant=str)
    sys.stdout.write(json.dumps(strict, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a message on stderr."""
    sys.stderr.write(f"{plain(text)}\n")
    sys.stderr.flush()


def plain(text: str) -> str:
    """Return text without control characters: names come from documents and could control the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _unexpected(error: Exception, *, debug: bool) -> Problem:
    hint = None if debug else f"the traceback is in {_kept(error)}; `loom --debug ...` prints it"
    return Problem(code="unexpected", message=f"{type(error).__name__}: {error}", hint=hint)


def _kept(error: Exception) -> str:
    """Write the traceback to a new file and return its path."""
    handle, path = tempfile.mkstemp(prefix="loom-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("".join(traceback.format_exception(error)))
    return path
