"""The pure half imports in a fresh interpreter without torch, and nothing of a run needs it until a node does."""

import json
import subprocess
import sys
from pathlib import Path

import toys

from latentloom import engine
from latentloom.engine.types.registry import Distribution, Registration
from latentloom.engine.types.values import VALUE_TYPES

MODULES = sorted(path.stem for path in Path(engine.__path__[0]).glob("*.py") if path.stem != "__init__")
HEAVY = ("torch", "aiohttp", "diffusers", "transformers", "PIL", "safetensors", "rich", "typer")


def fresh(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_engine_imports_without_anything_heavy() -> None:
    imports = "".join(f"import latentloom.engine.{name}\n" for name in MODULES)
    assert fresh(f"import sys\n{imports}print([name for name in {HEAVY!r} if name in sys.modules])") == "[]\n"


def test_the_python_door_imports_without_anything_heavy() -> None:
    assert fresh(f"import sys, latentloom.api\nprint([name for name in {HEAVY!r} if name in sys.modules])") == "[]\n"


def test_a_cached_run_imports_neither_torch_nor_the_nodes(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(toys.__file__).parent)!r})
from latentloom.api import Session
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.settings import load_settings
from latentloom.engine.types.values import VALUE_TYPES
import json
distribution = Distribution("toy-nodes", "1.0", "toys", "code")
made = Registration.from_record(distribution, json.loads(Path({str(tmp_path / "record")!r}).read_text()))
with Session(load_settings({{}}, {{"LATENTLOOM_HOME": {str(tmp_path)!r}}}), Registry([made])) as session:
    document = json.loads(Path({str(tmp_path / "flow")!r}).read_text())
    found = session.run(document)
statuses = {{report.status for report in found.nodes.values()}}
print(found.outputs["o0"], statuses, "toys" in sys.modules, "torch" in sys.modules)
"""
    made = Registration(Distribution("toy-nodes", "1.0", "toys", "code"))
    made.node(*toys.NODES)
    for cls in VALUE_TYPES:
        made.type(cls)
    document = toys.flow(
        "m i c",
        a=toys.use("MakeImage", level=0.25),
        m=toys.use("Mean", image="@a.image"),
        i=toys.use("If", flag=True, yes="@m", no="@c"),
        c=toys.use("Chain", n=3, a=1),
    )
    document["nodes"]["c"] = toys.use("Chain", n=3, a="@b")
    document["nodes"]["b"] = toys.use("Add", a=1)
    (tmp_path / "record").write_text(json.dumps(made.record()))
    (tmp_path / "flow").write_text(json.dumps(document))
    with toys.session(tmp_path) as session:
        session.run(document)
    assert fresh(script) == "0.25 {'cached'} False False\n"
