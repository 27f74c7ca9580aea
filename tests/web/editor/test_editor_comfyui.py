"""Files of ComfyUI on the canvas: they open in a tab of their own, with the report of what differs."""

import json
from typing import Any

import pytest
from editing import Editor
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import expect

GRAPH: dict[str, Any] = {
    "1": {"class_type": "PrimitiveInt", "inputs": {"value": 6}, "_meta": {"title": "Count"}},
    "2": {"class_type": "ComfyMathExpression", "inputs": {"expression": "a * 7", "values.a": ["1", 0]}},
    "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
}
UNKNOWN = {**GRAPH, "4": {"class_type": "SomebodysNode", "inputs": {"image": ["2", 0]}}}
DRAWING: dict[str, Any] = {
    "version": 0.4, "links": [], "groups": [], "config": {}, "extra": {},
    "nodes": [
        {"id": 5, "type": "PrimitiveStringMultiline", "pos": [80, 90], "size": [300, 200], "mode": 0, "title": "Words",
         "inputs": [], "outputs": [{"name": "STRING", "type": "STRING", "links": []}], "widgets_values": ["a cat"]},
        {"id": 6, "type": "Note", "pos": [80, 400], "size": [200, 100], "mode": 0, "widgets_values": ["Hello"]},
    ],
}  # fmt: skip


def report(editor: Editor) -> str:
    notice = editor.page.locator(".notice", has_text="Import report")
    notice.wait_for()
    return notice.locator(".quiet").inner_text()


@pytest.mark.parametrize("carrier", ["json", "png"])
def test_a_graph_opens_with_its_report(editor: Editor, tmp_path: Any, carrier: str) -> None:
    path = tmp_path / f"counted.{carrier}"
    if carrier == "json":
        path.write_text(json.dumps(UNKNOWN))
    else:
        chunks = PngInfo()
        chunks.add_text("prompt", json.dumps(UNKNOWN))
        Image.new("RGB", (8, 8)).save(path, pnginfo=chunks)

    editor.drop(path, "application/json" if carrier == "json" else "image/png")

    expect(editor.node("2")).to_be_visible()
    expect(editor.node("4")).to_be_visible()
    assert report(editor).splitlines() == [
        "ComfyUI, API format",
        "node '4': placeholder: ComfyUI's SomebodysNode has no counterpart here; its data is kept",
    ]


def test_a_file_of_comfyui_s_editor_keeps_its_places_and_notes(editor: Editor, tmp_path: Any) -> None:
    path = tmp_path / "drawn.json"
    path.write_text(json.dumps(DRAWING))

    editor.drop(path, "application/json")

    expect(editor.node("5")).to_contain_text("Words")
    expect(editor.page.get_by_text("Hello")).to_be_visible()
    assert report(editor).splitlines()[-1] == "Nothing was changed or lost."


def test_a_file_that_cannot_be_read_is_told_and_opens_nothing(editor: Editor, tmp_path: Any) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({"1": {"class_type": 7, "inputs": {}}}))

    editor.drop(path, "application/json")

    expect(editor.page.locator(".notice[data-kind=error]")).to_contain_text("broken.json")
    expect(editor.page.locator(".react-flow__node")).to_have_count(0)
