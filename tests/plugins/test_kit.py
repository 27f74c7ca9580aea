import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from latentloom.plugins.testing import check_plugin

EXAMPLE = Path(__file__).parents[2] / "plugins" / "examples" / "vignette"

HEAD = """
from typing import Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, Model, Seed
from latentloom.engine import node
from latentloom.engine.errors import Cancelled
from latentloom.plugins import hookimpl
"""

TAIL = """
@hookimpl
def register(registry):
    registry.node(bad)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a plugin of one node under a name of its own; the kit's word on it."""

    def install(name: str, body: str, samples=None) -> str:
        services = tmp_path / "site"
        info = services / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[latentloom]\n{name} = {name}\n")
        (services / f"{name}.py").write_text(HEAD + body + TAIL)
        monkeypatch.syspath_prepend(services)
        with pytest.raises(AssertionError) as caught:
            check_plugin(name, samples)
        return str(caught.value)

    return install


def test_a_plugin_that_is_not_installed():
    with pytest.raises(AssertionError, match=r"^the plugin 'nowhere' is not installed$"):
        check_plugin("nowhere")


def test_a_plugin_that_does_not_import(installed):
    assert installed("kit_broken", "import no_such_module") == (
        "the plugin 'kit_broken' ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_a_number_without_bounds_and_no_words(installed):
    body = """
@node("Bad")
def bad(amount: Annotated[float, Field(ge=0)]) -> float:
    "Half"
    return amount / 2
"""

    assert installed("kit_bounds", body).splitlines() == [
        "kit_bounds/Bad: input 'amount' has no bounds; write Field(ge=..., le=...)",
        'kit_bounds/Bad: has no category; write @node(..., category="image")',
        "kit_bounds/Bad: the first line of its docstring is not a sentence that ends with '.'",
        "kit_bounds/Bad: input 'amount' is not explained; write Field(description=...)",
    ]


def test_a_node_that_claims_to_be_pure(installed):
    body = """
@node("Bad", category="image")
def bad(image: Image) -> Image:
    "Add noise that nobody can repeat."
    return Image(np.random.default_rng().random(image.shape))
"""

    assert installed("kit_impure", body) == (
        'kit_impure/Bad: gives other values when it runs again; use a seed input, or purity="nondeterministic"'
    )


def test_a_node_that_writes_into_its_input(installed):
    body = """
@node("Bad", category="image")
def bad(image: Image) -> Image:
    "Paint the first pixel black."
    image.tensor()[0, 0, 0] = 0
    return image
"""

    assert installed("kit_mutates", body) == "kit_mutates/Bad: writes into its input 'image'; work on a copy"


def test_a_node_that_changes_the_process(installed):
    body = """
@node("Bad", category="image")
def bad(image: Image) -> Image:
    "Go where others are."
    import sys
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)
    return image
"""
    was = sys.getrecursionlimit()

    assert installed("kit_restless", body) == (
        f"kit_restless/Bad: changes the recursion limit ({was} became {was + 1}) for the whole process; "
        "put it back, or set it in another process"
    )
    assert sys.getrecursionlimit() == was


@pytest.mark.parametrize("reports", [1, 3])
def test_a_node_that_swallows_a_cancel(installed, reports):
    body = f"""
@node("Bad", category="image")
def bad(ctx: Context) -> int:
    "Count, whatever happens."
    for step in range({reports}):
        try:
            ctx.progress(step + 1, {reports})
        except Cancelled:
            pass
    return 1
"""

    assert installed(f"kit_deaf{reports}", body) == (
        f"kit_deaf{reports}/Bad: continues after a cancellation; do not catch what ctx.progress raises"
    )


def test_a_node_that_loses_its_way_when_it_goes_on(installed):
    body = """
@node("Bad", category="image")
def bad(ctx: Context) -> int:
    "Add three numbers, and forget what came before a cancellation."
    total = 0
    for step in range(int(ctx.kept() or b"0"), 3):
        total += step
        ctx.keep(str(step + 1).encode())
        ctx.progress(step + 1, 3)
    return total
"""

    assert installed("kit_forgets", body) == (
        "kit_forgets/Bad: gives other values when it goes on from what it kept at report 1"
    )


def test_a_node_that_fails(installed):
    body = """
@node("Bad", category="image")
def bad(image: Image) -> Image:
    "Divide by zero."
    return 1 / 0
"""

    assert installed("kit_raises", body) == "kit_raises/Bad: failed: ZeroDivisionError: division by zero"


def test_a_model_needs_a_sample(installed):
    body = """
@node("Bad", category="model")
def bad(model: Model) -> Model:
    "Pass a model on."
    return model
"""

    assert installed("kit_model", body) == "kit_model/Bad: needs a sample for its input 'model' (MODEL)"


def test_a_sample_for_an_input_that_is_not_there(installed):
    body = """
@node("Bad", category="text")
def bad(text: str) -> str:
    "Pass the text on."
    return text
"""

    fault = installed("kit_sample", body, {"Bad": {"texts": "a"}})

    assert fault == "kit_sample/Bad: has no input 'texts', but a sample for it"


def test_a_sample_that_raises_hides_no_other_node(installed):
    body = """
@node("Other", category="text")
def other(n: int) -> int:
    "Give n"
    return n

@node("Bad", category="text")
def bad(text: str) -> str:
    "Pass the text on."
    return text
"""

    def broken():
        raise RuntimeError("no sample today")

    fault = installed("kit_raises", body, {"Bad": {"text": broken}})

    assert "kit_raises/Bad: cannot be checked: RuntimeError: no sample today" in fault


def test_the_example_installs_and_passes_its_own_tests(tmp_path):
    source = shutil.copytree(EXAMPLE, tmp_path / "vignette")
    services = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(services), str(source)], check=True, stdin=subprocess.DEVNULL)

    environment = {**os.environ, "PYTHONPATH": str(services), "LATENTLOOM_HOME": str(tmp_path / "home")}
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_vignette.py"]
    (source / "latentloom_vignette.py").unlink()  # only the installed copy is left
    done = subprocess.run(pytest_run, cwd=source, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout
