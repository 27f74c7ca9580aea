"""`loom run --explain-memory` and the budgets."""

import re

import pytest


def table(out):
    """The rows of the table by node, cells by column."""
    _, head, *rows = out.splitlines()
    columns = re.split(r"\s{2,}", head)
    cells = [re.split(r"\s{2,}", row) for row in rows]
    return {row[0]: dict(zip(columns, row, strict=False)) for row in cells}


def test_it_tells_per_node_where_weights_would_be_and_runs_nothing(loom, home):
    code, out, _ = loom("run", "txt2img", "--dtype", "bf16", "--ram-budget", "5MB", "--explain-memory")
    assert (code, out.splitlines()[0]) == (0, "cpu, bf16, models may take 4.8 MiB")
    rows = table(out)
    assert list(rows) == ["negative", "positive", "sample", "decode"]
    assert rows["sample"]["type"] == "KSampler" and rows["sample"]["models"] == "shapes"
    assert rows["decode"]["fetched"] == "0 B" != rows["sample"]["fetched"]
    assert not (home / "output").exists() or not list((home / "output").iterdir())


def test_a_model_that_cannot_fit_is_named_before_the_run(loom):
    code, out, _ = loom("run", "txt2img", "--dtype", "bf16", "--ram-budget", "1MB", "--explain-memory")
    assert code == 0
    assert table(out)["sample"]["stays"] == "the model does not fit into its memory budget"


def test_a_budget_that_is_too_small_fails_with_needed_and_available_bytes(loom):
    code, _, err = loom("run", "txt2img", "--dtype", "bf16", "--ram-budget", "1MB")
    assert code == 3
    assert re.search(r"budget_too_small: node '\w+': \w+: the model does not fit .*expected at least \d+ bytes", err)


@pytest.mark.parametrize("size", ["x", "5 parsecs", "-1"])
def test_a_size_that_is_none_is_refused(loom, size):
    code, _, err = loom("run", "txt2img", "--ram-budget", size)
    assert code == 2
    assert f"'{size}' is not a size; write 500MB, 2GiB or a number of bytes" in err


def test_a_model_that_is_fetched_makes_the_same_picture(loom, home):
    flags = ("--dtype", "bf16", "--steps", "2", "--seed", "5", "--no-cache", "--no-metadata")
    loom("run", "txt2img", *flags, "--out", str(home / "whole"))
    loom("run", "txt2img", *flags, "--out", str(home / "fetched"), "--ram-budget", "4MB")
    (whole,), (fetched,) = ((list((home / name).glob("*.png"))) for name in ("whole", "fetched"))
    assert whole.read_bytes() == fetched.read_bytes()
