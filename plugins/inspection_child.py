"""The program that imports plugins for the first time. What a plugin does to this process hurts nothing else.

Input: a JSON line with the module search path and the time limit, then a line for each plugin. Output: an empty line at
the start, and a JSON line for each plugin with its registration, or why it failed. What plugins print goes to the error
output.
"""

import contextlib
import faulthandler
import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from latentloom.engine.types.registry import Distribution
from latentloom.plugins.hooks import GROUP
from latentloom.plugins.registration import failure_of, registered

OOM_SCORE = 1000  # Linux: if memory runs out, the system kills this process first


def inspected(request: Mapping[str, Any]) -> str:
    """Return the answer for one plugin as JSON."""
    point = EntryPoint(request["plugin"], request["value"], GROUP)
    distribution = Distribution(request["name"], request["version"], request["plugin"], request["code"])
    try:
        return json.dumps({"registration": registered(point, distribution).record()})
    except BaseException as error:  # a plugin may raise anything, even SystemExit
        failure = failure_of(error)
        return json.dumps({"failure": [failure.error, failure.missing, failure.trace]})


def main() -> None:
    """Answer until the input ends."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)  # what plugins print must not mix with answers
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    faulthandler.enable()
    start = json.loads(requests.readline())
    sys.path[:] = start["path"]
    answers.write("\n")  # it is ready
    answers.flush()
    for line in requests:
        faulthandler.dump_traceback_later(start["seconds"], exit=True)  # also if the parent is gone
        answers.write(inspected(json.loads(line)) + "\n")
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.flush()
        sys.stderr.flush()
        answers.flush()
    os._exit(0)  # threads of plugins must not keep the process alive


if __name__ == "__main__":
    main()
