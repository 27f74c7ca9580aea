"""ImageGrid: places, sizes and labels."""

import numpy as np
import pytest
from drawings import edge, flat, noise, put, workflow

from latentloom.engine import Image
from latentloom.engine.errors import BadValueError, NodeError
from latentloom.nodes.drawing.labels import label_height, label_width, plain
from latentloom.nodes.image_grid import image_grid


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(BadValueError, match="there are no pictures for a grid"):
        image_grid([])


@pytest.mark.parametrize("labels", [["one"], ["1", "2", "3", "4"]])
def test_labels_that_do_not_match_the_pictures_are_refused(labels):
    with pytest.raises(BadValueError) as caught:
        image_grid([noise(2), noise(1)], labels=labels)
    assert str(caught.value) == f"there must be one label for each picture (expected 3, got {len(labels)})"


@pytest.mark.parametrize(("name", "expected"), [("column_labels", 2), ("row_labels", 3)])
def test_headings_that_do_not_match_the_grid_are_refused(name, expected):
    with pytest.raises(BadValueError) as caught:
        image_grid([noise(5)], 2, **{name: ["one"] * 4})
    what = name.removesuffix("_labels")
    assert str(caught.value) == f"there must be one label for each {what} (expected {expected}, got 4)"


def test_headings_stand_above_the_columns_and_beside_the_rows():
    heads = {"column_labels": ["l", ""], "row_labels": ["", "l"]}
    sheet = image_grid([flat([0.5, 0.5, 0.5], 64, 64)] * 4, 2, gap=4, **heads).numpy()[0, ..., 0]
    top, side = label_height(["l"], 64), label_width(["l"], 64)
    assert sheet.shape == (top + 2 * 64 + 12, side + 2 * 64 + 12)
    columns, rows = sheet[: top + 4], sheet[:, : side + 4]
    assert [(part < 0.5).any() for part in (columns[:, : side + 68], columns[:, side + 68 :])] == [True, False]
    assert [(part < 0.5).any() for part in (rows[: top + 68], rows[top + 68 :])] == [False, True]
    plain = image_grid([flat([0.5, 0.5, 0.5], 64, 64)] * 4, 2, gap=4).numpy()[0, 4:, 4:, 0]
    assert np.array_equal(sheet[top + 4 :, side + 4 :], plain)


def test_a_grid_that_is_too_large_is_refused_before_it_is_made():
    batch = Image(np.broadcast_to(np.float32(0), (600, 1, 1, 3)))
    with pytest.raises(BadValueError, match="the result would be too large"):
        image_grid([batch], columns=600, gap=512)


def test_grids_of_grids_are_stopped_before_they_fill_the_memory(plain):
    put(plain, "cat.png", noise(1, 18, 24))
    nodes = {"g0": ("LoadImage", {"image": "cat.png"})}
    nodes |= {f"g{i}": ("ImageGrid", {"images": [edge(f"g{i - 1}")] * 100, "gap": 0}) for i in range(1, 20)}
    with pytest.raises(NodeError) as caught:
        plain.run(workflow(nodes, result=edge("g19")))
    assert (caught.value.problem.node, caught.value.problem.got) == ("g3", "24000x18000")


@pytest.mark.parametrize(
    ("count", "columns", "cells"),
    [(1, 0, (1, 1)), (2, 0, (2, 1)), (4, 0, (2, 2)), (5, 0, (3, 2)), (7, 0, (3, 3)), (5, 2, (2, 3)), (3, 9, (3, 1))],
)
def test_columns_make_the_shape_of_the_grid(count, columns, cells):
    sheet = image_grid([noise(count, 6, 8)], columns, gap=0)
    assert sheet.shape == (1, cells[1] * 6, cells[0] * 8, 3)


def test_every_item_of_every_batch_stands_in_its_place(plain):
    put(plain, "cat.png", noise(1, 6, 8))
    images = [noise(2, 6, 8, seed=1), noise(1, 6, 8, seed=2)]
    sheet = image_grid(images, 2, gap=3, background=0.5).numpy()[0]
    expected = np.full((3 * 3 + 2 * 6, 3 * 3 + 2 * 8, 3), 0.5, np.float32)
    for (y, x), pixels in zip([(3, 3), (3, 14), (12, 3)], np.concatenate([i.numpy() for i in images]), strict=True):
        expected[y : y + 6, x : x + 8] = pixels
    assert np.allclose(sheet, expected, atol=1e-6)


def test_smaller_pictures_stand_in_the_middle_of_their_cells():
    sheet = image_grid([flat([0, 0, 0], 2, 2), flat([0, 0, 0], 6, 4)], 2, gap=0).numpy()[0, ..., 0]
    assert sheet[:, :4].tolist() == [[1] * 4] * 2 + [[1, 0, 0, 1]] * 2 + [[1] * 4] * 2
    assert not sheet[:, 4:].any()


def test_transparent_pictures_show_the_background():
    assert np.allclose(image_grid([flat([1, 0, 0, 0.5])], gap=0, background=0.5).numpy(), [0.75, 0.25, 0.25])


@pytest.mark.parametrize(("background", "ink"), [(1.0, 0.08), (0.0, 0.95)])
def test_a_label_stands_above_its_picture_and_can_be_read(background, ink):
    sheet = image_grid([flat([0.5, 0.5, 0.5], 64, 64)], gap=4, background=background, labels=["iiii"]).numpy()[
        0, ..., 0
    ]
    head = sheet.shape[0] - 64 - 2 * 4
    band = sheet[4 : 4 + head]
    assert head == label_height(["iiii"], 64) > 10
    assert abs(band - ink).min() < 0.1
    assert np.array_equal(sheet[4 + head : -4, 4:-4], np.full((64, 64), 0.5))
    assert (sheet[:4] == background).all()


def test_rows_without_labels_take_no_room():
    sheet = image_grid([flat([0, 0, 0], 64, 64)] * 4, 2, gap=0, labels=["a", "", "", ""])
    assert sheet.shape[1] == 128 + label_height(["a"], 64)
    assert image_grid([flat([0, 0, 0], 64, 64)], gap=0, labels=[""]).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("label", ["word " * 500, "x" * 5000, "円" * 300, "\n\n\n", "\0\x1b[31m", "\ud800"])
def test_no_label_leaves_its_cell(label):
    sheet = image_grid([flat([0.5, 0.5, 0.5], 32, 32)] * 2, 2, gap=8, labels=[label, "b"]).numpy()[0]
    assert sheet.shape[0] <= 32 + 16 + label_height(["a\nb\nc\nd"], 32)
    assert (sheet[:, :8] == 1).all()
    assert (sheet[:, 40:48] == 1).all()


def test_labels_are_plain_letters_on_every_machine():
    assert plain("Crème “brûlée” – 2×円…") == 'Creme "brulee" - 2x?...'


def test_a_grid_in_a_workflow_takes_pictures_and_labels_of_other_nodes(plain):
    put(plain, "cat.png")
    nodes = {
        "load": ("LoadImage", {"image": "cat.png"}),
        "text": ("Text", {"text": "second"}),
        "it": (
            "ImageGrid",
            {"images": [edge("load"), edge("load")], "labels": ["first", edge("text", "value")], "columns": 1},
        ),
    }
    result = plain.run(workflow(nodes, result=edge("it")))["result"]
    assert result.shape == (1, 3 * 8 + 2 * (6 + label_height(["first", "second"], 8)), 24, 3)
