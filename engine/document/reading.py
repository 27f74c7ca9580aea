"""Reads workflow documents strictly and reports all problems of their structure at once."""

import re
from collections.abc import Callable, Mapping, Sized
from dataclasses import replace
from typing import Any

from latentloom.engine.document.nesting import nesting_problem
from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.document.workflow import (
    EXACT_INTEGER,
    FORMAT,
    GRAPH,
    MODES,
    RESERVED_INPUTS,
    Edge,
    NamedInput,
    NamedOutput,
    Node,
    Repeat,
    Target,
    Workflow,
)
from latentloom.engine.errors import Problem, Problems, WorkflowError, brief, shown

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}\Z")
MAX_NAME = 200  # characters in a workflow's name or a node's title
_TOP = ("format", "name", "inputs", "outputs", "nodes", "layout", "extra", "graphs")
_GRAPH = ("name", "inputs", "outputs", "nodes", "layout", "extra")
_NODE = ("type", "version", "inputs", "title", "mode", "extra", "each", "on_error", "repeat")
_REPEAT = ("carry", "collect", "until", "number")


def read(data: bytes | str, limits: Limits = Limits()) -> Workflow:  # noqa: B008 - a frozen default
    """Read a workflow from JSON text. Raises WorkflowError with all problems of its structure."""
    return from_json(parse(data, limits), limits)


class _Reader:
    """Collects the problems of a document's structure."""

    def __init__(self, limits: Limits) -> None:
        self.problems = Problems()
        self.limits = limits
        self.graph: str | None = None  # the sub-workflow that is being read

    def problem(self, code: str, message: str, **facts: str | None) -> None:
        if self.graph is not None and facts.get("node") is not None:
            facts["node"] = f"{GRAPH}{self.graph}/{facts['node']}"
        elif self.graph is not None:
            message = f"the sub-workflow '{self.graph}': {message}"
        self.problems.add(Problem(code=code, message=message, **facts))

    def few(self, what: str, given: Sized, most: int) -> bool:
        """Check that a collection is not larger than the limit."""
        if len(given) > most:
            self.problem("too_large", f"too many {what}", expected=f"at most {most}", got=str(len(given)))
        return len(given) <= most

    def short(self, what: str, text: Any, **at: str | None) -> None:
        """Check that a displayed name is not too long."""
        if type(text) is str and len(text) > MAX_NAME:
            most, got = f"at most {MAX_NAME} characters", f"{len(text)}"
            self.problem("too_large", f"{what} is too long", expected=most, got=got, **at)

    def keys(self, data: Mapping[str, Any], allowed: tuple[str, ...], place: str, **at: str | None) -> None:
        for name in data:
            if name not in allowed:
                near = self.problems.nearest(name, allowed) if type(name) is str else None
                self.problem("unknown_key", f"unknown key '{shown(name)}' in {place}", nearest=near, **at)

    def expect(self, value: Any, kind: type, what: str, **at: str | None) -> bool:
        if type(value) is kind:
            return True
        names = {dict: "an object", list: "a list", str: "text", int: "an integer"}
        self.problem("bad_document", f"{what} is malformed", expected=names[kind], got=brief(value), **at)
        return False


def from_json(data: Any, limits: Limits = Limits()) -> Workflow:  # noqa: B008
    """Read a workflow from parsed JSON. Raises WorkflowError with all problems of its structure."""
    reader = _Reader(limits)
    if not reader.expect(data, dict, "the workflow"):
        raise WorkflowError(reader.problems.told())
    _check_top(reader, data)
    workflow = replace(_scope(reader, data), graphs=_graphs(reader, data.get("graphs", {})))
    nesting = None if reader.problems else nesting_problem(workflow, limits.nodes)
    if nesting is not None:
        reader.problems.add(nesting)
    if reader.problems:
        raise WorkflowError(reader.problems.told())
    return workflow


def _scope(reader: _Reader, data: Mapping[str, Any]) -> Workflow:
    """Read what a document and a sub-workflow have in common."""
    reader.expect(data.get("name", ""), str, "'name'")
    reader.short("the workflow's name", data.get("name"))
    return Workflow(
        nodes=_nodes(reader, data.get("nodes", {})),
        name=data.get("name", ""),
        inputs=_named(reader, data.get("inputs", []), "inputs", _named_input),
        outputs=_named(reader, data.get("outputs", []), "outputs", _named_output),
        layout=data.get("layout"),
        extra=data.get("extra"),
    )


def _graphs(reader: _Reader, data: Any) -> dict[str, Workflow]:
    if not reader.expect(data, dict, "'graphs'") or not reader.few("sub-workflows", data, reader.limits.nodes):
        return {}
    found: dict[str, Workflow] = {}
    for name, item in data.items():
        if type(name) is not str or not _ID.match(name):
            expected = "letters, digits, '_' and '-', at most 200"
            reader.problem("bad_name", "not the name of a sub-workflow", expected=expected, got=brief(name))
        elif reader.expect(item, dict, f"the sub-workflow '{name}'"):
            reader.graph = name
            reader.keys(item, _GRAPH, "the sub-workflow")
            found[name] = _scope(reader, item)
            reader.graph = None
    return found


def _check_top(reader: _Reader, data: Mapping[str, Any]) -> None:
    version = data.get("format")
    if version != FORMAT:
        newer = isinstance(version, str) and re.fullmatch(r"latentloom/[1-9][0-9]{0,8}", version)
        hint = (
            "this file was made by a newer version of Latentloom: update"
            if newer
            else 'a workflow starts with "format": "latentloom/1"'
        )
        reader.problem(
            "unknown_format", "not a workflow of this version", expected=FORMAT, got=brief(version), hint=hint
        )
    reader.keys(data, _TOP, "the workflow")


def _nodes(reader: _Reader, data: Any) -> dict[str, Node]:
    if not reader.expect(data, dict, "'nodes'"):
        return {}
    if not reader.few("nodes", data, reader.limits.nodes):
        return {}
    return {id: _node(reader, id, item) for id, item in data.items()}


def _node(reader: _Reader, id: str, data: Any) -> Node:
    if type(id) is not str or not _ID.match(id):
        id = shown(id)
        reader.problem("bad_node_id", "not a node id", node=id, expected="letters, digits, '_' and '-', at most 200")
    if not reader.expect(data, dict, "the node", node=id):
        return Node("", 1)
    reader.keys(data, _NODE, "the node", node=id)
    version, mode, title = data.get("version", 1), data.get("mode", "active"), data.get("title")
    reader.expect(data.get("type"), str, "'type'", node=id)
    if reader.expect(version, int, "'version'", node=id) and version < 1:
        reader.problem("bad_document", "'version' starts at 1", node=id, got=brief(version))
    if title is not None:
        reader.expect(title, str, "'title'", node=id)
        reader.short("the title", title, node=id)
    if mode not in MODES:
        reader.problem("bad_document", "unknown mode", node=id, expected=", ".join(MODES), got=brief(mode))
    inputs = data.get("inputs", {})
    if not reader.expect(inputs, dict, "'inputs'", node=id):
        inputs = {}
    values = {name: _value(reader, id, name, value) for name, value in inputs.items()}
    if not all(type(name) is str for name in inputs):
        reader.problem("bad_document", "an input's name is text", node=id)
    each, on_error = data.get("each", []), data.get("on_error", "stop")
    if type(each) is not list or not all(type(name) is str for name in each) or len(set(each)) != len(each):
        reader.problem("bad_document", "'each' is malformed", node=id, expected="names of inputs", got=brief(each))
        each = []
    if on_error not in ("stop", "keep"):
        reader.problem("bad_document", "unknown 'on_error'", node=id, expected="stop, keep", got=brief(on_error))
    repeat = _repeat(reader, id, data["repeat"]) if "repeat" in data else None
    return Node(data.get("type", ""), version, values, title, mode, data.get("extra"), tuple(each), on_error, repeat)


def _repeat(reader: _Reader, id: str, data: Any) -> Repeat | None:
    if not reader.expect(data, dict, "'repeat'", node=id):
        return None
    reader.keys(data, _REPEAT, "'repeat'", node=id)
    carry, collect, ports = data.get("carry", {}), data.get("collect", []), [data.get("until"), data.get("number")]
    good = [
        type(carry) is dict and all(type(text) is str for pair in carry.items() for text in pair),
        type(collect) is list and all(type(name) is str for name in collect) and len(set(collect)) == len(collect),
        all(name is None or type(name) is str for name in ports),
    ]
    if not all(good):
        expected = '{"carry": {input: output}, "collect": [output], "until": output, "number": input}'
        reader.problem("bad_document", "'repeat' is malformed", node=id, expected=expected, got=brief(data))
        return None
    return Repeat(carry, tuple(collect), *ports)


def _value(reader: _Reader, node: str, name: str, value: Any) -> Any:
    if type(value) is dict:
        return _object(reader, node, name, value)
    if type(value) is list and any(type(item) is dict for item in value):
        return [_object(reader, node, name, item) if type(item) is dict else item for item in value]
    return value


def _object(reader: _Reader, node: str, name: str, value: dict[str, Any]) -> Any:
    if value.keys() == {"node", "output"} and type(value["node"]) is str and type(value["output"]) is str:
        return Edge(value["node"], value["output"])
    if value.keys() == {"literal"}:
        return value["literal"]
    reader.problem(
        "bad_value",
        "an object that is not an edge",
        node=node,
        input=name,
        expected='{"node": ..., "output": ...}',
        got=brief(value),
        hint='wrap an object that is meant as a value: {"literal": ...}',
    )
    return None


def _named(
    reader: _Reader,
    data: Any,
    place: str,
    read_one: Callable[[_Reader, dict[str, Any], str], Any],
) -> tuple[Any, ...]:
    if not reader.expect(data, list, f"'{place}'") or not reader.few(
        f"entries of '{place}'", data, reader.limits.nodes
    ):
        return ()
    found: list[Any] = []
    names: set[str] = set()
    for item in data:
        if not reader.expect(item, dict, f"an entry of '{place}'"):
            continue
        name = item.get("name")
        if type(name) is not str or not _NAME.match(name):
            reader.problem(
                "bad_name",
                f"an entry of '{place}' has no valid name",
                expected="a letter, then letters, digits, '_', '-'",
                got=brief(name),
            )
        elif name in names:
            reader.problem("duplicate_name", f"'{name}' appears twice in '{place}'")
        else:
            names.add(name)
            found.append(read_one(reader, item, name))
    return tuple(item for item in found if item)


def _named_input(reader: _Reader, item: dict[str, Any], name: str) -> NamedInput | None:
    reader.keys(item, ("name", "to"), f"input '{name}'")
    if reader.graph is None and name.replace("_", "-") in RESERVED_INPUTS:
        reader.problem(
            "reserved_name",
            f"the input '{name}' has the name of a flag of `loom run` or an argument of `latentloom.api.run`",
            expected=f"a name other than {', '.join(RESERVED_INPUTS)}",
            hint="rename it: every input of a workflow is a flag on the command line and a keyword in Python",
        )
    to: Any = item.get("to")
    what = f"'to' of input '{name}'"
    if not reader.expect(to, list, what) or not reader.few(f"places in {what}", to, reader.limits.nodes):
        return None
    good = [t for t in to if type(t) is dict and _is_target(t, items=reader.graph is not None)]
    if len(good) != len(to) or not to:
        reader.problem("bad_document", f"'to' of input '{name}' is malformed", expected='[{"node": ..., "input": ...}]')
    return NamedInput(name, tuple(Target(t["node"], t["input"], t.get("item")) for t in good))


def _is_target(data: Mapping[str, Any], *, items: bool) -> bool:
    """Whether this is {"node", "input"}; with `items`, it may also name an item of a list."""
    item = data.get("item")
    if "item" in data and not (items and type(item) is int and 0 <= item <= EXACT_INTEGER):
        return False
    return data.keys() - {"item"} == {"node", "input"} and type(data["node"]) is type(data["input"]) is str


def _named_output(reader: _Reader, item: dict[str, Any], name: str) -> NamedOutput | None:
    reader.keys(item, ("name", "from"), f"output '{name}'")
    source = item.get("from")
    if (
        type(source) is not dict
        or source.keys() != {"node", "output"}
        or not all(type(v) is str for v in source.values())
    ):
        reader.problem(
            "bad_document",
            f"'from' of output '{name}' is malformed",
            expected='{"node": ..., "output": ...}',
            got=brief(source),
        )
        return None
    return NamedOutput(name, Edge(source["node"], source["output"]))
