import re
from pathlib import Path

import pytest
import typer

from latentloom.cli.app import app
from latentloom.engine.document.workflow import FLAGS

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands():
    """Every command by its words, groups apart."""
    found, waiting = {}, [("loom", typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        children = getattr(command, "commands", {})
        waiting += [(f"{words} {name}", child) for name, child in children.items()]
        found[words] = command
    return found


def flags(command):
    return [flag for option in command.params if option.param_type_name == "option" for flag in option.opts]


@pytest.mark.parametrize("words", sorted(commands()))
def test_every_command_is_documented_with_its_help(words):
    assert re.search(rf"`{words}\b", DOC)
    assert commands()[words].help


@pytest.mark.parametrize(("words", "flag"), [(w, f) for w, c in sorted(commands().items()) for f in flags(c)])
def test_every_flag_is_documented(words, flag):
    group = " ".join(words.split()[:2])
    sections = [part for part in DOC.split("\n## ") if f"`{group}" in part.partition("\n")[0]]
    assert any(re.search(rf"{flag}\b", part) for part in sections or [DOC])


def test_every_documented_flag_exists():
    known = {flag for command in commands().values() for flag in flags(command)} | {"--help"}
    examples = {"--prompt", "--seed", "--steps", "--tiled", "--no-tiled", "--flag"}
    assert set(re.findall(r"--[a-z][a-z0-9-]*|(?<=`)-[a-z](?=`)", DOC)) - examples == known


def test_the_names_that_no_input_may_have_are_the_flags_of_run():
    assert {f"--{name}" for name in FLAGS} == {*flags(commands()["loom run"]), "--help"}


@pytest.mark.parametrize("name", ["validate", "explain"])
def test_commands_that_take_inputs_have_no_flags_beside_those_of_run(name):
    assert {flag.removeprefix("--") for flag in flags(commands()[f"loom {name}"])} <= set(FLAGS)
