"""`loom run --sweep`, `--rows` and `--grid`."""

import json
from pathlib import Path

import pytest
from PIL import Image

from latentloom.nodes.drawing.labels import label_width

TEXT = {"t": ("ReplaceText", {"text": "x", "find": "x", "replace": "a"}), "n": ("SeedNumber", {"seed": "random"})}
INPUTS = [("word", "t", "replace"), ("my_text", "t", "text")]
OUTPUTS = [("said", "t", "value"), ("seed", "n", "value")]


@pytest.fixture
def texts(workflow):
    return workflow(TEXT, INPUTS, OUTPUTS)


def cells(loom, *args):
    code, out, err = loom("run", *args, "--json")
    assert code == 0, err
    return [(cell["inputs"], cell["outputs"]["said"]) for cell in json.loads(out)["cells"]]


def test_a_sweep_runs_all_combinations_and_the_last_axis_changes_fastest(loom, texts):
    found = cells(loom, texts, "--sweep", "word=a,b", "--sweep", 'my-text=x1,"x, 2"')
    assert found == [
        ({"word": "a", "my_text": "x1"}, "a1"),
        ({"word": "a", "my_text": "x, 2"}, "a, 2"),
        ({"word": "b", "my_text": "x1"}, "b1"),
        ({"word": "b", "my_text": "x, 2"}, "b, 2"),
    ]


def test_a_random_seed_is_the_same_in_all_cells(loom, workflow):
    texts = workflow(TEXT, [*INPUTS, ("seed", "n", "seed")], OUTPUTS)
    _, out, _ = loom("run", texts, "--seed", "random", "--sweep", "word=a,b", "--json")
    first, second = json.loads(out)["cells"]
    assert first["outputs"]["seed"] == second["outputs"]["seed"]


def test_numbers_have_ranges_and_rows_combine_with_axes(loom, workflow, tmp_path):
    path = workflow({"i": ("Integer", {"value": 7}), **TEXT}, [("number", "i", "value"), *INPUTS],
                    [*OUTPUTS, ("number", "i", "value")])  # fmt: skip
    table = tmp_path / "rows.csv"
    table.write_text("number,word\n1,a\n,b\n")
    _, out, _ = loom("run", path, "--rows", table, "--sweep", "my_text=x,xx", "--json")
    found = json.loads(out)["cells"]
    assert [(cell["outputs"]["number"], cell["outputs"]["said"]) for cell in found] == [
        (1, "a"), (1, "aa"), (7, "b"), (7, "bb"),
    ]  # fmt: skip
    _, out, _ = loom("run", path, "--sweep", "number=3..1", "--json")
    assert [cell["outputs"]["number"] for cell in json.loads(out)["cells"]] == [3, 2, 1]


def test_a_sheet_shows_every_cell(loom, workflow, tmp_path):
    path = workflow({"c": ("ColourImage", {"width": 16, "height": 16})}, [("w", "c", "width"), ("h", "c", "height")],
                    [("image", "c", "image")])  # fmt: skip
    code, out, err = loom("run", path, "--sweep", "w=16,32", "--sweep", "h=16,24,32", "--grid", tmp_path / "sheet.png")
    assert code == 0, err
    assert "[6/6] w 32, h 32" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == label_width(["w 16", "w 32"], 32) + 3 * (32 + 8) + 8  # beside the rows
        assert sheet.height > 2 * (32 + 8)


def test_a_failed_cell_does_not_stop_the_others(loom, workflow):
    nodes = {"p": ("PickItem", {"items": [1, 2]})}
    path = workflow(nodes, [("index", "p", "index")], [("item", "p", "value")])
    code, out, _ = loom("run", path, "--sweep", "index=0,5,1", "--json")
    assert code != 0
    found = json.loads(out)
    assert (found["status"], [cell["status"] for cell in found["cells"]]) == ("failed", ["done", "failed", "done"])
    assert found["cells"][1]["problems"][0]["message"] == "PickItem: the list has no such item"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--sweep", "word"], "not an axis"),
        (["--sweep", "wrod=a"], "the workflow has no input 'wrod'"),
        (["--sweep", "word=1..1000000"], "too many values (expected at most 100000, got 1,000,000)"),
        (
            ["--sweep", "word=1..1000", "--sweep", "my_text=1..1000"],
            "too many runs (expected at most 100000, got 1,000,000)",
        ),
        (["--sweep", "word=a,b", "--word", "c"], "the input 'word' gets values from two places"),
        (["--rows", "gone.csv"], "'gone.csv' cannot be read"),
    ],
)
def test_bad_input_is_named_before_anything_runs(loom, texts, args, text):
    code, out, err = loom("run", texts, *args)
    assert code != 0
    assert text in err
    assert out == ""


def test_rows_with_an_unknown_column_are_refused(loom, texts, tmp_path):
    table = Path(tmp_path / "rows.jsonl")
    table.write_text('{"word": "a", "colour": "red"}\n')
    code, _, err = loom("run", texts, "--rows", table)
    assert code != 0
    assert "the workflow has no input 'colour'" in err
