"""Does to a server and to sessions what may happen to them, at random moments, then counts what was lost or done twice.

The server and its workers are killed, the server is stopped for longer than a worker may be silent, the power fails,
children outlive their workers, memory runs short, files are removed by hand, and readers leave in the middle.

python tests/soak.py --minutes 60     # and how memory and descriptors grow between restarts
python tests/soak.py --moves 40       # a round
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from server_trial import ServerTrial, rounds
from serving import PLANT, WILD


def slope(values: list[int]) -> float:
    """How much the second half's median is above the first's."""
    half = len(values) // 2
    return sorted(values[half:])[half // 2] - sorted(values[:half])[half // 2] if half else 0.0


class Sessions:
    """A process with a session trial, beside the server's."""

    def __init__(self, home: Path, seconds: float, seed: int) -> None:
        own = {"LATENTLOOM_HOME": str(home), "PYTHONPATH": f"{PLANT}:{WILD}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("session_trial.py")), str(seconds), str(seed)]
        self._process = subprocess.Popen(
            command, env={**os.environ, **own}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def found(self) -> dict[str, Any]:
        """Wait for its end."""
        out, err = self._process.communicate()
        try:
            return json.loads(out)
        except ValueError:
            return {"moves": {}, "faults": [f"it ended with {self._process.returncode}: {out}{err}"]}


def main() -> int:
    """Print what was found; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=sys.maxsize)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sessions = Sessions(
            Path(folder) / "sessions", given.minutes * 60 if given.moves == sys.maxsize else 0, given.seed
        )
        moves = islice(rounds(random.Random(given.seed)), given.moves)
        tally = ServerTrial(Path(folder) / "home", given.seed).run(moves, given.minutes * 60)
        found = sessions.found()
    faults = tally.faults | ({"sessions": found["faults"]} if found["faults"] else {})
    print(f"seed {given.seed}: {dict(tally.moves)}, {tally.accepted} jobs, {tally.died_twice} failed by two deaths")
    print(f"sessions: {found['moves']}")
    print(f"memory grew by {slope(tally.memory) / 2**20:.1f} MiB, descriptors by {slope(tally.descriptors):.0f}")
    print(json.dumps(faults, indent=2))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
