import json

import pytest

from latentloom.cli import errors
from latentloom.engine.errors import Cancelled, MissingFileError, NodeError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MissingFileError("gone"), 2),
        (NodeError("broke"), 3),
        (errors.Failure("did not work"), 3),
        (KeyError("surprise"), 3),
        (Cancelled("stopped"), 130),
    ],
)
def test_each_kind_of_error_has_an_exit_code(error, code):
    assert errors.exit_code(error) == code


def test_an_unexpected_error_is_one_line_and_a_file(capsys):
    code = errors.report(KeyError("surprise"), as_json=True, debug=False)
    problem = json.loads(capsys.readouterr().out)["problems"][0]
    path = problem["hint"].removeprefix("the traceback is in ").partition(";")[0]
    assert (code, problem["code"], problem["message"]) == (3, "unexpected", "KeyError: 'surprise'")
    with open(path, encoding="utf-8") as file:
        assert file.read() == "KeyError: 'surprise'\n"


def test_debug_prints_the_traceback(capsys):
    errors.report(KeyError("surprise"), as_json=False, debug=True)
    assert capsys.readouterr().err == "KeyError: 'surprise'\nunexpected: KeyError: 'surprise'\n"


def test_names_cannot_steer_the_terminal(capsys):
    errors.say("a\x1b[2Jb\u202ec\ud800")
    assert capsys.readouterr().err == "a\\x1b[2Jb\\u202ec\\ud800\n"


def test_json_has_no_words_that_json_lacks(capsys):
    errors.print_json({"a": float("nan"), "b": [float("-inf")], "c": 2**64})
    assert json.loads(capsys.readouterr().out) == {"a": "NaN", "b": ["-Infinity"], "c": 2**64}
