"""The examples of the pages as a strict type checker sees them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/server.md", "docs/plugins.md", "docs/coming-from.md")
CONFIG = """
[mypy]
strict = True
disallow_subclassing_any = False
[mypy-torch.*,networkx.*,scipy.*,safetensors.*,diffusers.*,transformers.*]
follow_imports = skip
ignore_missing_imports = True
"""
EVENTS = """
from latentloom.api import Client, stream
from latentloom.engine.events import event_of

for event in stream("txt2img"):
    match event.name:
        case "node_preview":
            print(event.image, event.step)
        case "node_failed":
            print(event.problem["code"])
for record in Client().stream("id", live=True):
    print(record["event"].upper(), record.get("step", 0) + 1, event_of(record))
"""


def examples() -> dict[str, str]:
    """The modules to check: those of a page in one, unless they define things twice."""
    found = {"events": EVENTS}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)):
            found[f"{re.sub(r'[^a-z]', '_', page.lower())}_{number}"] = block
    return found


def test_the_examples_have_types(tmp_path):
    modules = examples()
    assert len(modules) > 6
    for name, source in modules.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    environment = {**os.environ, "MYPYPATH": str(ROOT / ".dev")}
    (tmp_path / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--explicit-package-bases", "--cache-dir", str(tmp_path / "cache")]

    done = subprocess.run(
        [*command, *(f"{name}.py" for name in modules)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
