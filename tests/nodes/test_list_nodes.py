"""List nodes, alone and item by item in workflows."""

import json
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import BadValueError
from latentloom.engine.files.tables import read_rows
from latentloom.nodes.lists import combine_lists, integer_list, join_lists, number_list, pick_item, seed_list, zip_lists


def test_numbers_and_seeds() -> None:
    assert integer_list(5, -2, 3) == [5, 3, 1]
    assert number_list(0.0, 1.0, 5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert (number_list(2.0, 9.0, 1), number_list(2.0, 9.0, 0)) == ([2.0], [])
    assert seed_list(7, 100)[:10] == seed_list(7, 10) != seed_list(8, 10)
    assert len(set(seed_list(7, 10_000))) == 10_000
    with pytest.raises(BadValueError, match="too large"):
        integer_list(2**53 - 1, 1, 1)


def test_lists_are_combined_and_brought_to_one_length() -> None:
    assert combine_lists([1, 2], ["a", "b"]) == ([1, 1, 2, 2], ["a", "b", "a", "b"])
    assert zip_lists([1, 2, 3], ["a"]) == ([1], ["a"])
    assert zip_lists([1, 2, 3], ["a", "b"], "cycle") == ([1, 2, 3], ["a", "b", "a"])
    assert zip_lists([1, 2, 3], ["a", "b"], "repeat last") == ([1, 2, 3], ["a", "b", "b"])
    assert pick_item(["a", "b"], -1) == "b"
    with pytest.raises(BadValueError, match="an empty list"):
        zip_lists([1], [], "cycle")
    with pytest.raises(BadValueError, match="too many combinations"):
        combine_lists([0] * 1001, [0] * 1000)
    with pytest.raises(BadValueError, match="no such item"):
        pick_item([1], 1)
    assert len(join_lists([0] * 600_000, [0] * 400_000)) == 1_000_000
    with pytest.raises(BadValueError, match="the joined list is too long"):
        join_lists([0] * 600_000, [0] * 400_001)


@pytest.mark.parametrize(
    "data",
    [
        b'prompt,seed\r\n"a, ""big"" cat",1\r\n"two\nlines",2\r\n',
        b'prompt;seed\n"a, ""big"" cat";1\n\n"two\nlines";2',
        b'\xef\xbb\xbfprompt\tseed\n"a, ""big"" cat"\t1\n"two\nlines"\t2\n',
        'prompt,seed\n"a, ""big"" cat",1\n"two\nlines",2\n'.encode("utf-16"),
        b'{"prompt": "a, \\"big\\" cat", "seed": "1"}\n\n{"prompt": "two\\nlines", "seed": "2"}\n',
    ],
)
def test_tables_with_odd_quotes_and_encodings(data: bytes) -> None:
    assert read_rows(data, "t") == [{"prompt": 'a, "big" cat', "seed": "1"}, {"prompt": "two\nlines", "seed": "2"}]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"prompt\n\xff\n", "'t' is no text in a known encoding"),
        (b'a,b\n"open\n', "line 2 of 't' is no CSV"),
        (b"a,b\n1,2,3\n", "'t' has a row with more values than columns (expected 2, got 3 values in row 2)"),
        (b"a,a\n1,2\n", "'t' has columns of the same name (got a)"),
        (b'{"a": 1}\n{"a": \n', "line 2 of 't' is no JSON"),
        (b'{"a": 1}\n[1]\n', "line 2 of 't' is no object (got a list of 1)"),
    ],
)
def test_a_broken_table_is_named_with_its_line(data: bytes, text: str) -> None:
    with pytest.raises(BadValueError) as caught:
        read_rows(data, "t")
    assert str(caught.value).startswith(text)


def test_a_hundred_thousand_rows_are_read() -> None:
    assert len(read_rows(b"a,b\n" + b'"x, y",2\n' * 100_000, "t")) == 100_000


def workflow(**columns: dict[str, Any]) -> dict[str, Any]:
    nodes = {
        name: {"type": "TableColumn", "inputs": {"file": "t.csv", "column": name, **more}}
        for name, more in columns.items()
    }
    outputs = [{"name": name, "from": {"node": name, "output": "values"}} for name in columns]
    return {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}


def table(plain: Any, text: str) -> None:
    path: Path = plain.settings.input / "t.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_column_has_numbers_if_all_values_are_numbers(plain: Any) -> None:
    table(plain, "i,f,t,n\n1,1,x,1e999\n2,2.5,,2\n")
    found = plain.run(workflow(i={}, f={}, t={"missing": "none"}, n={})).outputs
    assert found == {"i": [1, 2], "f": [1.0, 2.5], "t": ["x", "none"], "n": ["1e999", "2"]}
    assert plain.run(workflow(i={"kind": "text"})).outputs == {"i": ["1", "2"]}
    with pytest.raises(Exception, match=r"there is no column 'in' \(expected i, f, t, n\). Did you mean 'n'\?"):
        table(plain, "i,f,t,n\n1,1,x,3\n2,2.5,,2\n")
        plain.run(workflow(**{"in": {}}))


def test_rows_go_item_by_item(plain: Any) -> None:
    table(plain, "subject,amount\ncat,1\ndog,2\n")
    data = workflow(subject={}, amount={})
    edges = {name: {"node": name, "output": "values"} for name in data["nodes"]}
    join = {"type": "ReplaceText", "inputs": {"text": edges["subject"], "find": "o", "replace": "0"}, "each": ["text"]}
    sums = {"type": "Float", "inputs": {"value": edges["amount"]}, "each": ["value"]}
    data["nodes"] |= {"join": join, "sums": sums}
    data["outputs"] = [{"name": name, "from": {"node": name, "output": "value"}} for name in ("join", "sums")]
    assert plain.run(json.loads(json.dumps(data))).outputs == {"join": ["cat", "d0g"], "sums": [1.0, 2.0]}
