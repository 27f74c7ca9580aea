"""From the start of a process to a saved picture when every result is on disk; medians over fresh processes.

python benchmarks/start_bench.py [--runs 7]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "import latentloom.api, latentloom.cli.run, PIL.Image"
SMALL = "import sys; from latentloom.cli.main import main; sys.exit(main())"


def seconds(command: list[str], home: str) -> float:
    """Wall seconds of one process. Raises CalledProcessError when it fails."""
    begin = time.perf_counter()
    subprocess.run(command, env={**os.environ, "LATENTLOOM_HOME": home}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def median(command: list[str], home: str, runs: int) -> float:
    """The median of several processes, after one that is not counted."""
    seconds(command, home)
    return statistics.median(seconds(command, home) for _ in range(runs))


def torch_imported(command: list[str], home: str) -> bool:
    """Whether a process imports torch."""
    found = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:]],
        env={**os.environ, "LATENTLOOM_HOME": home},
        check=True,
        capture_output=True,
        text=True,
    )
    return any(line.split("|")[-1].strip() == "torch" for line in found.stderr.splitlines())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        loom = [sys.executable, "-c", SMALL]
        cached = [*loom, "run", "txt2img", "--seed", "1", "--out", str(Path(home) / "out")]
        first = seconds(cached, home)
        rows = {
            "txt2img, first run in an empty home": first,
            "txt2img, every result on disk": median(cached, home, runs),
            "python -c pass": median([sys.executable, "-c", "pass"], home, runs),
            "the imports of `loom run`": median([sys.executable, "-c", IMPORTS], home, runs),
            "loom --help": median([*loom, "--help"], home, runs),
        }
        for name, value in rows.items():
            print(f"| {name} | {value:.3f} s |")
        print(f"torch imported in the cached run: {torch_imported(cached, home)}")


if __name__ == "__main__":
    main()
