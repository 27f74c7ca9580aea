import json
import shutil
import sqlite3

import pytest

from latentloom.engine.jobs.database import sqlite_faults

TEXT = {"say": ("toy/Text", {"text": "hello"}), "more": ("toy/Join", {"names": [{"node": "say", "output": "value"}]})}


@pytest.fixture
def chain(workflow):
    return workflow(TEXT, [("text", "say", "text")], [("said", "more", "value")])


def rows(out):
    return [line.split(maxsplit=3) for line in out.splitlines()[1:]]


# validate


def test_every_problem_of_a_document_is_named(loom, workflow):
    nodes = {"a": ("toy/Texxt", {}), "b": ("toy/Text", {"text": 5, "lout": True}), "c": ("toy/Join", {})}
    code, out, err = loom("validate", workflow(nodes, outputs=[("o", "b", "vale")]))
    assert (code, out) == (2, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "unknown_node_type",
        "unknown_input",
        "wrong_type",
        "missing_input",
        "unknown_output",
        "5 problems",
    ]


def test_a_document_that_is_none(loom, tmp_path):
    (tmp_path / "x.json").write_text('{"format": 5}')
    code, _, err = loom("validate", tmp_path / "x.json")
    assert (code, err.partition(":")[0]) == (2, "unknown_format")


def test_a_valid_document(loom, chain):
    assert loom("validate", chain) == (0, "toy: 2 nodes, no problems\n", "")


def test_a_deprecated_node_is_told(loom, workflow):
    old = workflow({"a": ("toy/Words", {})}, outputs=[("o", "a", "value")])
    told = "toy: 1 node, no problems\nwarning: a: toy/Words is deprecated: use toy/Text\n"
    assert loom("validate", old) == (0, told, "")
    assert loom("nodes", "show", "toy/Words")[1].splitlines()[1] == "deprecated: use toy/Text"
    lines = [" ".join(line.split()) for line in loom("nodes", "list", "--category", "text")[1].splitlines()]
    assert "toy/Words text deprecated: use toy/Text toy-nodes 1.0" in lines


def test_a_value_is_validated_with_the_document(loom, chain):
    assert loom("validate", chain, "--set", "say.loud=5")[0] == 2
    assert loom("validate", chain, "--text", "x")[0] == 0


# explain


def test_explain_tells_what_changed(loom, chain):
    assert [row[2] for row in rows(loom("explain", chain)[1])] == ["run", "unknown"]
    loom("run", chain)
    assert [row[2] for row in rows(loom("explain", chain)[1])] == ["hit", "hit"]
    assert rows(loom("explain", chain, "--text", "new")[1]) == [
        ["say", "toy/Text", "run", "changed: input 'text'"],
        ["more", "toy/Join", "unknown", "unknown until 'say' ran"],
    ]


def test_explain_of_a_bad_workflow_is_2(loom, workflow):
    assert loom("explain", workflow({"a": ("toy/Nothing", {})}))[0] == 2


# nodes


# diff


@pytest.fixture
def before(workflow, tmp_path):
    """Like `workflow`, but in a file of its own."""
    return lambda *parts: shutil.move(workflow(*parts), tmp_path / "before.json")


def test_diff_tells_what_changed_and_exits_with_1(loom, before, workflow):
    more = {"node": "hey", "output": "value"}
    old = before({**TEXT, "old": ("toy/Text", {"text": "x"})}, [("text", "say", "text")])
    after = workflow({"hey": ("toy/Text", {"text": "bye"}), "more": ("toy/Join", {"names": [more]})})
    code, out, _ = loom("diff", old, after)
    assert (code, out.splitlines()) == (
        1,
        [
            "removed  old (toy/Text)",
            'changed  hey.text: "hello" -> "bye"',
            "input    text: say.text -> none",
            "renamed  say -> hey",
        ],
    )


def test_a_workflow_with_other_ids_makes_the_same_results(loom, before, workflow):
    old = before({"a": ("toy/Text", {"text": "hello"})})
    assert loom("diff", old, old)[:2] == (0, "no difference\n")
    assert loom("diff", old, workflow({"b": ("toy/Text", {"text": "hello"})}))[:2] == (0, "renamed  a -> b\n")


def test_diff_as_json(loom, before, workflow):
    old = before({"a": ("toy/Text", {"text": "x"})})
    code, out, _ = loom("diff", old, workflow({"a": ("toy/Text", {"text": "y"})}), "--json")
    found = json.loads(out)
    assert (code, found["same_results"], found["added"]) == (1, False, [])
    text = [{"name": "text", "before": "x", "after": "y"}]
    assert found["changed"] == [{"node": "a", "type": "toy/Text", "inputs": text, "properties": []}]


def test_diff_of_a_file_that_is_not_there_is_2(loom, chain):
    code, _, err = loom("diff", chain, "nothing.json")
    assert (code, err.partition(":")[0]) == (2, "missing_file")


def test_nodes_are_listed_by_category(loom):
    code, out, _ = loom("nodes", "list", "--category", "numbers")
    assert (code, out.splitlines()[1:]) == (0, ["toy/Numbers  numbers   Give the inputs as text.  toy-nodes 1.0"])
    assert "toy/Numbers" in loom("nodes")[1]


def test_an_unknown_category_offers_the_nearest(loom):
    code, _, err = loom("nodes", "list", "--category", "number")
    assert (code, err.partition(":")[0], "Did you mean 'numbers'?" in err) == (2, "unknown_name", True)


def test_a_node_type_is_shown_with_bounds_and_help(loom):
    code, out, _ = loom("nodes", "show", "toy/Numbers")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[:3] == ["toy/Numbers, version 1, pure, from toy-nodes 1.0", "", "Give the inputs as text."]
    assert "count INT 3 0..100 How many." in lines
    assert "mode up|down 'up'" in lines
    assert lines[-1] == "value STRING"


def test_an_unknown_node_type_offers_the_nearest(loom):
    code, _, err = loom("nodes", "show", "toy/Nmbers")
    assert (code, err) == (2, "unknown_name: there is no node type 'toy/Nmbers'. Did you mean 'toy/Numbers'?\n")


# plugins


def test_plugins_are_listed_with_their_faults(loom, torn):
    code, out, err = loom("plugins")
    found = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()[1:]}
    assert (code, err) == (0, "")
    assert found["toy"].startswith("toy toy-nodes 1.0 loaded 12 ")
    assert found["torn"].startswith("torn torn-nodes 2.0 failed 0 ")
    assert found["torn"].endswith("No module named 'a_module_that_nobody_has' a_module_that_nobody_has")


def test_a_trace_is_printed_on_demand(loom, torn):
    code, out, _ = loom("plugins", "--trace", "torn")
    assert code == 0
    assert out.startswith("Traceback (most recent call last):")
    assert "import a_module_that_nobody_has" in out
    assert loom("plugins", "--trace", "toy")[1].startswith("the plugin 'toy' has not failed: ")
    assert loom("plugins", "--trace", "ton")[0] == 2


# doctor


def test_doctor_finds_a_sound_installation(loom, home):
    code, out, _ = loom("doctor")
    assert code == 0, out
    wanted = [f"note    SQLite: {fault}" for fault in sqlite_faults()] or [f"ok      SQLite: {sqlite3.sqlite_version}"]
    assert [line for line in out.splitlines() if "SQLite:" in line] == wanted
    subjects = {line.split(maxsplit=1)[1].partition(":")[0] for line in out.splitlines() if line.startswith("ok")}
    assert subjects >= {
        "Python",
        "PyTorch",
        "settings",
        "device",
        "dtype",
        "data",
        "input",
        "output",
        "cache",
        "plugins",
        "libraries",
    }


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False),
        ((3, 52, 0), False), ((4, 0, 0), False),
    ],
)  # fmt: skip
def test_a_sqlite_with_the_wal_reset_bug_is_known(version, faulty):
    found = sqlite_faults(version)

    assert len(found) == faulty
    assert all(f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug" in fault for fault in found)


def test_doctor_names_a_plugin_that_failed_and_what_to_install(loom, torn):
    code, out, _ = loom("doctor")
    assert code == 1
    lines = out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("broken"))
    assert lines[place] == (
        "broken  plugin: torn (torn-nodes 2.0): ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    )
    assert lines[place + 1] == "        tip: pip install a_module_that_nobody_has"


def test_doctor_survives_a_broken_settings_file(loom, home):
    home.mkdir()
    (home / "latentloom.toml").write_text("dtype = 'fp8'")
    code, out, _ = loom("doctor")
    assert (code, "broken  settings: the setting 'dtype' cannot be used" in out) == (1, True)
    assert f"tip: fix {home / 'latentloom.toml'}" in out


def test_doctor_names_a_device_that_is_not_there_and_a_folder_that_cannot_be_written(loom, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("LATENTLOOM_DEVICE", "cuda:63")
    monkeypatch.setenv("LATENTLOOM_OUTPUT", str(tmp_path / "file" / "out"))
    code, out, _ = loom("doctor")
    assert (code, "broken  device: there is no device 'cuda:63'" in out) == (1, True)
    assert f"broken  output: {tmp_path / 'file' / 'out'}: Not a directory" in out


# the whole


def test_without_a_command_the_help_is_shown(loom):
    code, out, err = loom()
    assert code == 2
    assert "Usage: loom [OPTIONS] COMMAND [ARGS]..." in out + err


def test_an_unknown_command_offers_the_nearest(loom):
    code, _, err = loom("rum")
    assert (code, "Did you mean 'run'?" in err) == (2, True)


def test_the_version(loom):
    from importlib.metadata import version

    assert loom("--version") == (0, f"latentloom {version('latentloom')}\n", "")
