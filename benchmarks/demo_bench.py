"""From a caption to a saved picture in a fresh process and an empty home, after the imports; and the memory it takes.

python benchmarks/demo_bench.py [--runs 5] [--dtype fp32]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CAPTION = "a large red circle above a small blue square on a white background"
PROGRAM = """
import sys, time
begin = time.perf_counter()
import diffusers.models.autoencoders.autoencoder_kl, diffusers.models.unets.unet_2d_condition
import torch, transformers.models.clip.modeling_clip, transformers.models.clip.tokenization_clip, PIL.Image
import latentloom.api, latentloom.nodes.sampling, latentloom.nodes.diffusion
imports = time.perf_counter() - begin
begin = time.perf_counter()
with latentloom.api.open_session(dtype=sys.argv[2]) as session:
    result = session.run("txt2img", prompt=sys.argv[1], seed=7)
print(imports, time.perf_counter() - begin)
"""


def anonymous(pid: int) -> int:
    """RssAnon of a process in bytes; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def measure(dtype: str) -> tuple[float, float, int]:
    """Seconds of the imports, seconds from caption to picture, and the peak of anonymous memory in bytes."""
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, CAPTION, dtype],
            env={**os.environ, "LATENTLOOM_HOME": home},
            stdout=subprocess.PIPE,
            text=True,
        )
        peaks = [0]

        def watch() -> None:
            while process.poll() is None:
                peaks.append(anonymous(process.pid))
                time.sleep(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, _ = process.communicate()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"the run failed with exit code {process.returncode}")
    imports, run = map(float, out.split())
    return imports, run, max(peaks)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    rows = [measure(given.dtype) for _ in range(given.runs)]
    imports, run, peak = (statistics.median(row[n] for row in rows) for n in range(3))
    print(f"| imports | {imports:.2f} s |")
    print(f"| caption to saved picture, 20 steps, empty home | {run:.2f} s |")
    print(f"| peak anonymous memory | {peak / 2**20:.0f} MiB |")


if __name__ == "__main__":
    main()
