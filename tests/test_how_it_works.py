"""docs/how-it-works.md: its pictures are there and small, its commands are those of workflows in the box."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from latentloom.api import load_workflow
from latentloom.nodes import study

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[[^\]]+\]\((images/[\w-]+\.png)\)", PAGE)
COMMANDS = re.findall(r"loom run [^`\n]+", PAGE)


def test_every_figure_is_shown_once() -> None:
    assert sorted(PICTURES) == sorted(f"images/{path.name}" for path in DOCS.glob("images/how-*.png"))


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_is_small_and_carries_nothing_but_pixels(name: str) -> None:
    assert (DOCS / name).stat().st_size <= 150_000
    with Image.open(DOCS / name) as picture:
        picture.load()
        assert picture.info.keys() <= {"transparency"}
        assert picture.width <= 900


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_a_workflow_and_its_inputs(command: str) -> None:
    name, *flags = shlex.split(command)[2:]
    inputs = {item.name for item in load_workflow(name).inputs}
    assert {flag.removeprefix("--") for flag in flags[::2]} <= inputs


def test_every_study_node_is_named() -> None:
    for function in study.NODES:
        assert f"`{function.__loom_node__.spec.type}`" in PAGE
