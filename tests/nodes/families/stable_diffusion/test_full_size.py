"""Checkpoints of full size, from file to first step: what comes out is finite, and memory stays near the weights'."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latentloom.training.random_checkpoint import write_checkpoint

WEIGHTS = {"sd1": 1_066_235_384, "sdxl": 3_468_837_945}  # numbers
RUN = """
import json, re, sys, threading, time
from pathlib import Path
from latentloom.api import Session
from latentloom.engine.settings import load_settings

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

peak, done = 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.01):
        peak = max(peak, anonymous())

threading.Thread(target=watch, daemon=True).start()
home = sys.argv[1]
settings = {"device": "cpu", "dtype": "bf16", "models": [f"{home}/models"]}
with Session(load_settings(settings, {"LATENTLOOM_HOME": home})) as session:
    found = session.run("txt2img", checkpoint="full.safetensors", prompt="a cat", steps=1, width=256, height=256)
    pixels = found["image"].numpy()
done.set()
print(json.dumps({"peak": peak, "shape": pixels.shape, "spread": float(pixels.std())}))
"""


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", WEIGHTS)
def test_a_checkpoint_of_full_size_makes_a_picture_within_its_memory(recipe: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    write_checkpoint(folder / "full.safetensors", recipe)
    done = subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], capture_output=True, text=True, check=False)
    (folder / "full.safetensors").unlink()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["shape"] == [1, 256, 256, 3]
    assert found["spread"] > 0.01
    assert WEIGHTS[recipe] < found["peak"] < 1.15 * 2 * WEIGHTS[recipe] + 0.6e9, f"{found['peak'] / 1e9:.2f} GB"
