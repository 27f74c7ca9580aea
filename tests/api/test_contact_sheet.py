"""Headings of contact sheets: what changes along columns stands above them, the rest beside the rows."""

from itertools import product

import pytest

from latentloom.api.contact_sheet import headings


def table(**axes):
    """The runs of a sweep, the last axis fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def test_the_last_axis_heads_the_columns_and_the_others_the_rows():
    assert headings(table(seed=[1], cfg=[3, 5], sampler=["euler", "ddim"]), 2) == {
        "column_labels": ["sampler euler", "sampler ddim"],
        "row_labels": ["seed 1, cfg 3", "seed 1, cfg 5"],
    }


def test_inputs_that_change_together_stand_together():
    rows = [{"w": w, "h": h, "cfg": cfg} for cfg in (1, 2) for w, h in ((8, 9), (16, 17), (8, 24))]
    assert headings(rows, 3) == {
        "column_labels": ["w 8, h 9", "w 16, h 17", "w 8, h 24"],
        "row_labels": ["cfg 1", "cfg 2"],
    }


@pytest.mark.parametrize(
    ("runs", "columns"),
    [
        (table(cfg=[1, 2, 3]), 3),  # one row
        (table(cfg=[1, 2], seed=[1, 2]), 1),
        (table(cfg=[1, 2], seed=[1, 2])[:3], 2),  # a picture is missing
        (table(cfg=[1, 2, 3, 4]), 2),
        ([{"a": 1}, {"b": 1}, {"a": 1}, {"b": 1}], 2),
        ([], 0),
    ],
)  # fmt: skip
def test_runs_that_are_no_table_have_no_headings(runs, columns):
    assert headings(runs, columns) is None
