import pytest
import typer

from latentloom.cli.flags import Given, split

OWN = {"--json": False, "--out": True, "--set": True, "--help": False}


@pytest.mark.parametrize(
    ("line", "own", "given"),
    [
        (["wf"], ["wf"], []),
        (["wf", "--seed", "5"], ["wf"], [Given("seed", "5")]),
        (["wf", "--seed=5"], ["wf"], [Given("seed", "5")]),
        (["wf", "--seed", "-1"], ["wf"], [Given("seed", "-1")]),
        (["wf", "--prompt", ""], ["wf"], [Given("prompt", "")]),
        (["wf", "--prompt=--json"], ["wf"], [Given("prompt", "--json")]),
        (["wf", "--prompt", "a=b"], ["wf"], [Given("prompt", "a=b")]),
        (["wf", "--tiled", "--json"], ["wf", "--json"], [Given("tiled", None)]),
        (["--out", "wf2", "wf", "--x", "1"], ["--out", "wf2", "wf"], [Given("x", "1")]),
        (["wf", "--set", "--odd", "--x", "1"], ["wf", "--set", "--odd"], [Given("x", "1")]),
        (["wf", "--out=dir", "--x"], ["wf", "--out=dir"], [Given("x", None)]),
        (["wf", "extra"], ["wf", "extra"], []),
    ],
)
def test_a_line_is_split_into_own_and_given(line, own, given):
    assert split(line, OWN) == (own, "wf", given)


def test_a_flag_of_the_workflow_cannot_come_before_its_name():
    with pytest.raises(typer.BadParameter, match="--seed comes before the workflow's name"):
        split(["--seed", "5", "wf"], OWN)


def test_without_a_workflow_there_is_no_name():
    assert split(["--help"], OWN) == (["--help"], None, [])
