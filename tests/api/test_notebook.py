"""What notebooks show. The cells of the example run in this process, without a kernel."""

import ast
import base64
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image as Pil

from latentloom import api
from latentloom.api.notebook import Progress, follow, list_html
from latentloom.engine import Image
from latentloom.engine.errors import Cancelled
from latentloom.engine.events import NodeFinished, NodePreview, NodeProgress, NodeStarted
from latentloom.engine.files.picture_html import MOST, SIDE

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first-pictures.ipynb"


def images(html: str) -> list[tuple[int, int]]:
    """The sizes of the pictures in HTML, decoded."""
    data = re.findall(r'src="data:image/webp;base64,([^"]*)"', html)
    return [Pil.open(io.BytesIO(base64.b64decode(one))).size for one in data]


def run_cells() -> list[Any]:
    """The values of the last lines of the notebook's code cells."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    names, found = dict[str, Any](), []
    for cell in cells:
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        exec(compile(tree, "cell", "exec"), names)
        found.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    names["session"].close()
    return found


def test_the_example_shows_a_picture_in_every_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTLOOM_HOME", str(tmp_path))
    workflow, result, pictures, running, results = run_cells()

    drawing = ElementTree.fromstring(workflow._repr_svg_())
    assert len(drawing.findall("{*}rect")) == len(workflow.nodes)
    assert images(result._repr_html_()) == [(128, 128)]
    assert str(result.files[0]) in result._repr_html_()
    assert images(pictures._repr_html_()) == images(list_html(pictures) or "") == [(128, 128)]
    shown: list[str] = []
    follow(running, shown.append, clock=iter(range(1_000_000)).__next__)
    assert any("sample" in html and "of 12" in html for html in shown)
    assert any(images(html) for html in shown[:-1]), "previews"
    assert images(shown[-1]) == [(128, 128)]
    assert images(list_html(results) or "") == [(128, 128)] * 3


def test_images_are_shown_side_by_side_and_the_rest_is_counted():
    many = Image(np.zeros((MOST + 3, 2, 2, 3), np.float32))

    assert len(images(many._repr_html_())) == MOST
    assert "and 3 more" in many._repr_html_()


def test_large_pictures_are_shown_smaller():
    html = Image(np.zeros((1, 8, SIDE * 2, 4), np.float32))._repr_html_()

    assert images(html) == [(SIDE, 4)]
    assert f'title="{SIDE * 2}x8"' in html


@pytest.mark.parametrize("items", [[], [1, 2], ["a"], [Pil.new("RGB", (1, 1))]])
def test_other_lists_are_left_alone(items):
    assert list_html(items) is None


def test_progress_has_a_bar_for_each_running_node():
    progress = Progress()
    progress(NodeStarted(node="<a>", type="T"))
    assert progress.html() == "<div>0 nodes done</div><div><progress></progress> &lt;a&gt;</div><div></div>"
    progress(NodeProgress(node="<a>", step=1, total=3))
    progress(NodePreview(node="<a>", step=1, image=Image(np.zeros((2, 4, 4, 3), np.float32))))
    assert '<progress value="1" max="3"></progress> &lt;a&gt; 1 of 3' in progress.html()
    assert images(progress.html()) == [(4, 4)]
    progress(NodeFinished(node="<a>", type="T", seconds=1.0, peak_bytes=0))
    assert "<progress" not in progress.html()
    assert "1 nodes done" in progress.html()


def test_an_interrupt_cancels_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTLOOM_HOME", str(tmp_path))

    def show(html: str) -> None:
        raise KeyboardInterrupt

    with api.open_session(device="cpu") as session:
        running = session.stream("txt2img", prompt="a red circle", steps=200)
        with pytest.raises(KeyboardInterrupt):
            follow(running, show)
        with pytest.raises(Cancelled):
            running.result()


def test_a_drawing_has_columns_and_survives_odd_workflows():
    document = {
        "format": "latentloom/1",
        "nodes": {
            "a": {"type": "A<"}, "b": {"type": "B", "inputs": {"x": {"node": "a", "output": "y"}}},
            "c": {"type": "C", "inputs": {"x": [{"node": "a", "output": "y"}, {"node": "b", "output": "y"}]}},
        },
        "outputs": [{"name": "o", "from": {"node": "c", "output": "y"}}],
    }  # fmt: skip
    drawing = ElementTree.fromstring(api.load_workflow(document)._repr_svg_())
    boxes = drawing.findall("{*}rect")

    assert [int(box.get("x", 0)) for box in boxes] == [12, 242, 472]
    assert [box.get("class") for box in boxes] == [None, None, "out"]
    assert len(drawing.findall("{*}path")) == 3
    assert [text.text for text in drawing.findall("{*}text")] == ["a", "A<", "b", "B", "c", "C"]
    empty = api.load_workflow({"format": "latentloom/1", "nodes": {}})
    assert ElementTree.fromstring(empty._repr_svg_()).findall("{*}rect") == []
