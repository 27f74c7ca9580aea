import ast
import dataclasses
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latentloom.api import workflow_names
from latentloom.engine import Image, events
from latentloom.engine.document.reading import read
from latentloom.engine.settings import PREFIX, Settings
from latentloom.engine.types.registry import Registration
from latentloom.plugins.hooks import Hooks

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.md")]
REPORTERS = {
    "Problem",
    "LiteralError",
    "NodeWarning",
    "problem",
    "_refused",
    "warn",
    "warn_of_model",
    "warn_once",
    "tell",
}


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), re.DOTALL | re.MULTILINE)


def python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LATENTLOOM_HOME": str(folder / "home")}
    return subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


def loom(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).with_name("loom"), *arguments], capture_output=True, text=True)


# Examples


def test_every_event_and_its_fields_are_on_the_page_of_plugins():
    listed = {tuple(row.split("|")[1:4]) for row in rows("docs/plugins.md")}
    for cls in events.Event.__subclasses__():
        fields = ", ".join(f"`{name}`" for item in dataclasses.fields(cls) if (name := item.name) != "number")
        assert (f" `{cls.__name__}` ", f" `{cls.name}` ", f" {fields} ") in listed


def test_the_examples_of_the_readme_run(tmp_path):
    done = python("\n".join(blocks("README.md", "python")), tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "circle.png").is_file()
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1
    assert "sample: 20 of 20" in done.stdout
    assert "node 'sample', input 'steps': out of range" in done.stdout
    assert "Did you mean 'euler'?" in done.stdout
    assert "sample hit" in done.stdout


def test_the_chinese_readme_keeps_up_with_the_english_one():
    english, chinese = text("README.md"), text("README.zh-CN.md")

    def code(page: str) -> list[str]:
        fences = re.findall(r"^```(?:sh|python)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        return [re.sub(r" +# .*", "", block) for block in fences]

    def links(page: str) -> list[str]:
        return sorted(set(re.findall(r"\]\(([^)#]+)\)", page)) - {"README.md", "README.zh-CN.md"})

    assert code(chinese) == code(english)
    assert links(chinese) == links(english)
    for mark in ("## ", "- ", "| "):
        assert [page.count(f"\n{mark}") for page in (chinese, english)] == [english.count(f"\n{mark}")] * 2
    assert "](README.md)" in chinese
    assert "](README.zh-CN.md)" in english


def test_the_plugin_of_the_readme_makes_a_negative():
    names: dict[str, object] = {}
    exec(blocks("README.md", "python")[-1], names)

    assert names["invert"](Image(np.full((1, 2, 2, 3), 0.25))).numpy()[0, 0, 0, 0] == 0.75


def test_the_examples_of_the_plugin_page_run(tmp_path):
    done = python("\n".join(blocks("docs/plugins.md", "python")), tmp_path)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_document_reads():
    assert list(read(blocks("docs/format.md", "json")[0]).nodes) == ["load", "blend"]


@pytest.mark.parametrize("example", blocks("docs/format.md", "json"))
def test_the_example_documents_validate(tmp_path, example):
    script = f"""
from pathlib import Path
from PIL import Image
from latentloom.api import open_session
Path("home/input").mkdir(parents=True)
Image.new("RGB", (8, 8)).save("home/input/cat.png")
Path("example.json").write_text({example!r})
print([str(problem) for problem in open_session().validate("example.json")])
"""

    assert python(script, tmp_path).stdout == "[]\n"


def test_the_example_loop_gives_what_its_page_says(tmp_path):
    script = f"""
from pathlib import Path
from latentloom.api import run
Path("example.json").write_text({blocks("docs/loops.md", "json")[0]!r})
print(run("example.json")["numbers"])
"""

    done = python(script, tmp_path)
    assert (done.stdout, done.returncode) == ("[2.0, 4.0, 8.0, 16.0, 32.0, 64.0]\n", 0)


def test_the_example_settings_are_settings():
    assert tomllib.loads(blocks("docs/settings.md", "toml")[0]).keys() <= Settings.model_fields.keys()


# Commands


def shell_lines() -> list[str]:
    lines = [line for page in PAGES for block in blocks(str(page), "sh") for line in block.splitlines()]
    return [line.partition("  #")[0].strip().removeprefix(".venv/bin/") for line in lines]


def inline() -> list[str]:
    return [span for page in PAGES for span in re.findall(r"`((?:loom|make) [a-z][^`\n]*)`", text(str(page)))]


def commands(name: str) -> list[str]:
    return sorted({line for line in (*shell_lines(), *inline()) if line.startswith(f"{name} ")})


@pytest.mark.parametrize("target", sorted({line.split()[1] for line in commands("make")}))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:.* ## ", text("Makefile"), re.MULTILINE)


def subcommand(line: str) -> tuple[str, ...]:
    words = line.split()[1:]
    groups = {"cache", "models", "nodes"}
    return tuple(words[:2] if words[0] in groups and len(words) > 1 and words[1].islower() else words[:1])


@pytest.mark.parametrize(
    "words", sorted({subcommand(line) for line in commands("loom") if " -" not in line[:6]}), ids=" ".join
)
def test_loom_commands_exist(words):
    done = loom(*words, "--help")

    assert done.returncode == 0, done.stderr


def runs() -> dict[str, set[str]]:
    """The flags that documents give to `loom run`, by workflow; a file or a picture counts as txt2img."""
    found: dict[str, set[str]] = {}
    for line in commands("loom"):
        if line.startswith("loom run "):
            name = line.split()[2]
            shipped = name if name in workflow_names() else "txt2img"
            found.setdefault(shipped, set()).update(re.findall(r"--[a-z-]+", line))
    return found


@pytest.mark.parametrize(("name", "flags"), sorted(runs().items()))
def test_the_flags_of_loom_run_exist(name, flags):
    assert flags - set(re.findall(r"--[a-z-]+", loom("run", name, "--help").stdout)) == set()


# Links


def links(page: Path) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return (target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target)


def test_the_trees_of_the_architecture_page_are_the_trees_on_disk():
    trees = "\n".join(re.findall(r"^```\n(.*?)^```$", text("docs/architecture.md"), re.DOTALL | re.MULTILINE))
    named = set(re.findall(r"(?<![\w/])[a-z]+(?:/[a-z]+)?/(?![\w*])", trees))
    places = [ROOT, ROOT / "engine", ROOT / "nodes"]
    subjects = {f"{path.name}/" for place in places[1:] for path in place.iterdir() if (path / "__init__.py").is_file()}

    assert {name for name in named if not any((place / name).is_dir() for place in places)} == set()
    assert subjects <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, link


# Completeness


def codes() -> set[str]:
    files = [p for folder in ("engine", "plugins", "api", "web", "nodes", "cli") for p in (ROOT / folder).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files if "examples" not in path.parts]
    return {code for tree in trees for node in ast.walk(tree) for code in _codes(node)}


def _codes(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ClassDef):
        found = [s.value for s in node.body if isinstance(s, ast.Assign | ast.AnnAssign) and _target(s) == "code"]
        return [value.value for value in found if isinstance(value, ast.Constant)]
    if not isinstance(node, ast.Call) or _name(node.func) not in REPORTERS:
        return []
    value = next((k.value for k in node.keywords if k.arg == "code"), node.args[0] if node.args else None)
    arms = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
    return [arm.value for arm in arms if isinstance(arm, ast.Constant) and isinstance(arm.value, str)]


def _target(statement: ast.Assign | ast.AnnAssign) -> str:
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    return _name(target)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def rows(page: str) -> list[str]:
    return [line for line in text(page).splitlines() if line.startswith("| `")]


def test_every_error_code_is_listed_once():
    listed = [row.split("`")[1] for row in rows("docs/errors.md")]

    assert sorted(listed) == sorted(codes())


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name):
    start, end = f"| `{name}` | `{PREFIX}{name.upper()}` |", f"| {Settings.model_fields[name].description} |"

    assert [row for row in rows("docs/settings.md") if row.startswith(start) and row.endswith(end)]


def test_no_setting_is_documented_that_does_not_exist():
    assert {row.split("`")[1] for row in rows("docs/settings.md")} == Settings.model_fields.keys()


@pytest.mark.parametrize("hook", [name for name in vars(Hooks) if not name.startswith("_")])
def test_every_hook_is_documented(hook):
    assert [row for row in rows("docs/plugins.md") if row.startswith(f"| `{hook}(")]


METHODS = {n for n, v in vars(Registration).items() if callable(v) and not n.startswith("_")} - {"record"}


def test_every_registry_method_is_documented():
    assert {row.split("`")[1].partition("(")[0] for row in rows("docs/plugins.md") if "registry." in row} == {
        f"registry.{name}" for name in METHODS
    }
