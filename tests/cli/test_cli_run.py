import json

import pytest

TEXT = {"say": ("toy/Text", {"text": "hello"})}


@pytest.fixture
def hello(workflow):
    return workflow(TEXT, [("text", "say", "text"), ("is_loud", "say", "loud")], [("said", "say", "value")])


@pytest.fixture
def numbers(workflow):
    nodes = {"n": ("toy/Numbers", {"seed": "random"})}
    inputs = [(name, "n", name) for name in ("count", "ratio", "mode", "seed")]
    return workflow(nodes, inputs, [("all", "n", "value")], name="numbers")


@pytest.fixture
def picture(workflow):
    nodes = {"paint": ("toy/Paint", {"seed": 1}), "save": ("toy/Save", {"image": {"node": "paint", "output": "image"}})}
    return workflow(nodes, [("seed", "paint", "seed")], name="noise")


def problems(out):
    return [problem["code"] for problem in json.loads(out)["problems"]]


@pytest.mark.parametrize(
    ("flags", "codes"),
    [
        (["--texd", "x"], ["unknown_flag"]),
        (["--text"], ["missing_value"]),
        (["--text", "a", "--text", "b"], ["duplicate_flag"]),
        (["--is_loud", "a", "--is-loud", "b"], ["duplicate_flag"]),
        (["--texd", "x", "--text"], ["unknown_flag", "missing_value"]),
        (["--no-text"], ["unknown_flag"]),
        (["--set", "say"], ["usage"]),
        (["--set", "sya.text=x"], ["unknown_node"]),
        (["--set", "say.txt=x"], ["unknown_input"]),
        (["--set", "say.loud=maybe"], ["wrong_type"]),
        (["--output", "sad"], ["unknown_workflow_output"]),
        (["--device", "toaster"], ["bad_setting"]),
        (["--dtype", "fp8"], ["bad_setting"]),
        (["extra"], ["usage"]),
    ],
)
def test_what_cannot_run_is_refused_with_2(loom, hello, flags, codes):
    code, out, _ = loom("run", hello, "--json", *flags)
    assert (code, json.loads(out)["status"], problems(out)) == (2, "invalid", codes)


def test_every_bad_value_is_named_at_once(loom, numbers):
    code, _, err = loom("run", numbers, "--count", "500", "--ratio", "half", "--mode", "upp")
    assert code == 2
    assert err.splitlines() == [
        "out_of_range: node 'n', input 'count': out of range (expected 0..100, got 500)",
        "wrong_type: node 'n', input 'ratio': wrong type (expected a number, got 'half')",
        "unknown_choice: node 'n', input 'mode': not one of the choices (expected up, down, got 'upp'). "
        "Did you mean 'up'?",
        "3 problems",
    ]


def test_an_unknown_flag_offers_the_nearest(loom, hello):
    _, _, err = loom("run", hello, "--texd", "x")
    assert err == (
        "unknown_flag: the workflow has no input 'texd', and the command no such flag "
        "(expected --text, --is_loud). Did you mean '--text'?\n"
    )


def test_an_unknown_flag_offers_the_commands_own_too(loom, hello):
    assert "Did you mean '--no-cache'?" in loom("run", hello, "--no-cahce")[2]


def test_a_missing_workflow_is_2(loom):
    code, out, err = loom("run", "txt2imgg")
    assert (code, out) == (2, "")
    assert err.startswith("missing_file: there is no workflow 'txt2imgg'")


def test_a_flag_before_the_name_is_a_mistake_in_usage(loom, hello):
    code, out, err = loom("run", "--text", "x", hello)
    assert (code, out) == (2, "")
    assert "--text comes before the workflow's name, or is not a flag of this command" in err


def test_a_reserved_name_is_refused_by_the_reader(loom, workflow):
    path = workflow(TEXT, [("no_cache", "say", "text")])
    code, out, _ = loom("run", path, "--json")
    assert (code, problems(out)) == (2, ["reserved_name"])


def test_a_named_input_is_a_flag(loom, hello):
    code, out, err = loom("run", hello, "--text", "good day")
    assert code == 0
    assert out.splitlines()[0] == "said: good day"
    assert err.splitlines()[0].startswith("say: toy/Text, ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--is-loud"], "HELLO"),
        (["--is_loud"], "HELLO"),
        (["--is-loud", "yes"], "HELLO"),
        (["--no-is-loud"], "hello"),
        (["--set", "say.loud=true"], "HELLO"),
        (["--is-loud", "--set", "say.loud=false"], "hello"),
        (["--text=--json"], "--json"),
    ],
)
def test_flags_of_all_kinds(loom, hello, flags, said):
    _, out, _ = loom("run", hello, "--json", *flags)
    assert json.loads(out)["outputs"] == {"said": said}


def test_a_random_seed_is_drawn_and_told(loom, numbers):
    _, out, _ = loom("run", numbers, "--json", "--seed", "random")
    found = json.loads(out)
    assert found["outputs"]["all"] == f"3 0.5 up {found['seeds']['n.seed']}"


def test_lists_are_json(loom, workflow):
    path = workflow({"j": ("toy/Join", {"names": []})}, [("names", "j", "names")], [("all", "j", "value")])
    assert json.loads(loom("run", path, "--json", "--names", '["a", "b"]')[1])["outputs"] == {"all": "a+b"}
    assert problems(loom("run", path, "--json", "--names", "a")[1]) == ["wrong_type"]


def test_a_path_outside_the_input_folder_is_stored_by_its_hash(loom, workflow, tmp_path, home):
    (tmp_path / "note.png").write_bytes(b"abc")
    path = workflow({"r": ("toy/Read", {"file": "x.png"})}, [("file", "r", "file")], [("sha", "r", "value")])
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for flag in (["--file", tmp_path / "note.png"], ["--set", f"r.file={tmp_path / 'note.png'}"]):
        assert json.loads(loom("run", path, "--json", *flag)[1])["outputs"] == {"sha": sha}
    assert (home / "input" / "by-hash" / "ba" / f"{sha}.png").read_bytes() == b"abc"


def test_a_path_that_is_not_there_is_2(loom, workflow, tmp_path):
    path = workflow({"r": ("toy/Read", {"file": "x.png"})}, [("file", "r", "file")], [("sha", "r", "value")])
    code, _, err = loom("run", path, "--file", tmp_path / "gone.png")
    assert (code, err) == (2, f"missing_file: there is no file {tmp_path / 'gone.png'}\n")


def test_the_json_object_tells_everything(loom, picture, tmp_path):
    code, out, err = loom("run", picture, "--json", "--out", tmp_path / "out")
    found = json.loads(out)
    seconds = [found["nodes"]["paint"].pop("seconds"), found["nodes"]["save"].pop("seconds"), found.pop("seconds")]
    assert (code, err, all(s >= 0 for s in seconds)) == (0, "", True)
    assert found == {
        "status": "done",
        "workflow": "noise",
        "files": [{"path": str(tmp_path / "out" / "noise-00001.png"), "width": 8, "height": 4}],
        "outputs": {},
        "seeds": {"paint.seed": 1},
        "nodes": {
            "paint": {"type": "toy/Paint", "status": "done"},
            "save": {"type": "toy/Save", "status": "done"},
        },
        "problems": [],
    }


def test_a_saved_file_is_told_with_its_size(loom, picture, tmp_path):
    _, out, _ = loom("run", picture, "--out", tmp_path / "out")
    assert out.splitlines()[0] == f"{tmp_path / 'out' / 'noise-00001.png'}  8x4"
    assert out.splitlines()[-1].startswith("done in ")


def test_the_second_run_is_cached_unless_it_is_not_wanted(loom, hello):
    status = [json.loads(loom("run", hello, "--json", *flag)[1])["nodes"]["say"]["status"] for flag in ([], [])]
    assert status == ["done", "cached"]
    assert "say: toy/Text, cached\n" in loom("run", hello)[2]
    assert json.loads(loom("run", hello, "--json", "--no-cache")[1])["nodes"]["say"]["status"] == "done"


def test_a_picture_runs_again(loom, picture, tmp_path):
    loom("run", picture, "--out", tmp_path / "out", "--seed", "7")
    _, out, _ = loom("run", tmp_path / "out" / "noise-00001.png", "--json", "--out", tmp_path / "out")
    found = json.loads(out)
    assert (found["seeds"], len(found["files"])) == ({"paint.seed": 7}, 1)


def test_without_metadata_a_picture_tells_nothing(loom, picture, tmp_path):
    loom("run", picture, "--out", tmp_path / "out", "--no-metadata")
    code, _, err = loom("run", tmp_path / "out" / "noise-00001.png")
    assert (code, err.splitlines()[0]) == (2, "bad_file: 'noise-00001.png' contains no workflow")


def test_only_the_wanted_outputs_are_made(loom, workflow):
    nodes = {"a": ("toy/Text", {}), "b": ("toy/Fail", {})}
    path = workflow(nodes, outputs=[("a", "a", "value"), ("b", "b", "value")])
    code, out, _ = loom("run", path, "--json", "--output", "a")
    assert (code, list(json.loads(out)["nodes"])) == (0, ["a"])


def test_a_node_that_fails_is_3_and_named(loom, workflow):
    path = workflow({"bad": ("toy/Fail", {"text": "x"})}, outputs=[("o", "bad", "value")])
    code, out, err = loom("run", path)
    assert code == 3
    assert out.startswith("failed in ")
    assert "node_failed: node 'bad': " in err
    assert "Traceback" not in err


def test_a_node_that_fails_keeps_the_json_whole(loom, workflow):
    path = workflow({"bad": ("toy/Fail", {"text": "x"})}, outputs=[("o", "bad", "value")])
    code, out, _ = loom("run", path, "--json")
    found = json.loads(out)
    assert (code, found["status"], problems(out)) == (3, "failed", ["node_failed"])
    assert found["nodes"]["bad"]["status"] == "failed"


def test_debug_shows_the_traceback_of_a_node(loom, workflow):
    path = workflow({"bad": ("toy/Fail", {"text": "x"})}, outputs=[("o", "bad", "value")])
    assert "ValueError: no luck with 'x'" in loom("--debug", "run", path)[2]


def test_a_node_that_prints_does_not_break_the_json(loom, workflow):
    path = workflow({"s": ("toy/Shout", {"text": "noise"})})
    code, out, err = loom("run", path, "--json")
    assert (code, json.loads(out)["status"], err) == (0, "done", "noise\n")


def test_steps_are_measured(loom, workflow):
    path = workflow({"s": ("toy/Steps", {"steps": 5, "pause": 0.01})}, outputs=[("o", "s", "value")])
    _, out, _ = loom("run", path, "--json")
    node = json.loads(out)["nodes"]["s"]
    assert node["steps"] == 5
    assert 0 < node["seconds_per_step"] <= node["seconds"]


def test_the_pace_is_told_in_words(loom, workflow):
    path = workflow({"s": ("toy/Steps", {"steps": 3})}, outputs=[("o", "s", "value")])
    line = loom("run", path)[1].splitlines()[1]
    assert line.startswith("s: 3 steps, ")
    assert line.endswith(" s/step")


def test_help_lists_the_inputs_of_the_workflow(loom, numbers):
    code, out, _ = loom("run", numbers, "--help")
    assert code == 0
    lines = [" ".join(line.split()) for line in out[out.index("Inputs of numbers") :].splitlines()]
    assert lines[:4] == [
        "Inputs of numbers:",
        "--count INT How many; 0..100; default 3",
        "--ratio NUMBER 0..1; default 0.5",
        "--mode up|down default up",
    ]
    seed = " ".join(lines[4:])
    assert seed.startswith("--seed INT|random ")
    assert seed.endswith("; 0..18446744073709551615; default random")


def test_help_of_a_workflow_that_is_not_there_is_2(loom):
    assert loom("run", "nothing", "--help")[0] == 2


def test_a_plugin_that_fails_is_one_warning(loom, torn, hello):
    code, out, err = loom("run", hello, "--json")
    assert (code, json.loads(out)["status"]) == (0, "done")
    assert err == (
        "warning: the plugin 'torn' (torn-nodes 2.0) failed: the module 'a_module_that_nobody_has' is missing; "
        "see `loom plugins --trace torn`\n"
    )
