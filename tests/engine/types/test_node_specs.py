"""`@node`: every annotation that is a port, every one that is refused, and specs as data."""

import json
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Optional

import pytest
import toys
from pydantic import Field

from latentloom.engine import (
    Advanced,
    Context,
    Image,
    InputFile,
    Lazy,
    Model,
    ModelFile,
    Seed,
    Source,
    Text,
    Widget,
    node,
)
from latentloom.engine.errors import SpecError
from latentloom.engine.types.literals import LiteralError, coerce, plain
from latentloom.engine.types.node import definition
from latentloom.engine.types.registry import Ref, Registration
from latentloom.engine.types.spec import InputSpec, NodeSpec, OutputSpec, spec_from_record

SEED_HELP = 'Seed of the random numbers; "random" picks a new seed for each run.'


class Odd:
    """A class without a kind."""


class Two(NamedTuple):
    one: int
    images: list[Image]


def spec(function: Any, **how: Any) -> NodeSpec:
    return definition(node("N", **how)(function)).spec


def port(annotation: Any, **default: Any) -> InputSpec:
    """The port that an annotation makes."""

    def function(x: Any) -> None:
        """Help."""

    function.__annotations__["x"] = annotation
    function.__defaults__ = tuple(default.values()) or None
    return spec(function, needs=(list) if "_Lazy" in repr(annotation) else None).inputs[0]


@pytest.mark.parametrize(
    ("annotation", "fields"),
    [
        (int, {"kind": "INT"}),
        (float, {"kind": "FLOAT"}),
        (str, {"kind": "STRING"}),
        (bool, {"kind": "BOOLEAN"}),
        (dict, {"kind": "JSON"}),
        (dict[str, Any], {"kind": "JSON"}),
        (Any, {"kind": "ANY"}),
        (Image, {"kind": "IMAGE"}),
        (Model, {"kind": "MODEL"}),
        (InputFile, {"kind": "FILE"}),
        (ModelFile, {"kind": "MODEL_FILE"}),
        (toys.Token, {"kind": "TOKEN"}),
        (Literal["a", "b"], {"kind": "CHOICE", "choices": ("a", "b")}),
        (Image | None, {"kind": "IMAGE", "optional": True}),
        (Optional[int], {"kind": "INT", "optional": True}),  # noqa: UP045
        (list[int], {"kind": "INT", "is_list": True}),
        (list[Image] | None, {"kind": "IMAGE", "is_list": True, "optional": True}),
        (Seed, {"kind": "INT", "minimum": 0, "maximum": 2**64 - 1, "widget": "seed", "help": SEED_HELP}),
        (Text, {"kind": "STRING", "widget": "multiline"}),
        (Lazy[Image], {"kind": "IMAGE", "optional": True, "lazy": True}),
        (
            Annotated[int, Field(ge=1, le=9, description="How many.")],
            {"kind": "INT", "minimum": 1, "maximum": 9, "help": "How many."},
        ),
        (
            Annotated[int, Field(gt=1, lt=9, multiple_of=2)],
            {"kind": "INT", "minimum": 2, "maximum": 8, "multiple_of": 2},
        ),
        (Annotated[float, Field(ge=0.5, multiple_of=0.25)], {"kind": "FLOAT", "minimum": 0.5, "multiple_of": 0.25}),
        (Annotated[str, Field(min_length=1, max_length=5)], {"kind": "STRING", "min_length": 1, "max_length": 5}),
        (Annotated[str, Source("samplers")], {"kind": "CHOICE", "source": "samplers"}),
        (Annotated[ModelFile, Source("models/loras")], {"kind": "MODEL_FILE", "source": "models/loras"}),
        (Annotated[float, Widget("slider")], {"kind": "FLOAT", "widget": "slider"}),
    ],
)
def test_an_annotation_is_a_port(annotation: Any, fields: dict[str, Any]) -> None:
    assert port(annotation) == InputSpec(name="x", **fields)


def test_a_default_makes_an_input_optional_to_write() -> None:
    assert port(int, x=3) == InputSpec(name="x", kind="INT", required=False, default=3)
    assert repr(port(float, x=3).default) == "3.0"
    assert port(Image | None, x=None) == InputSpec(name="x", kind="IMAGE", required=False, optional=True)


@pytest.mark.parametrize(
    ("annotation", "default", "text"),
    [
        (Odd, {}, "not a port type (got <class 'tests.engine.types.test_node_specs.Odd'>)"),
        (bytes, {}, "not a port type (got <class 'bytes'>)"),
        (int | str, {}, "a port has one type (got int | str)"),
        (list[list[int]], {}, "lists of lists are not ports"),
        (Literal["a", 1], {}, "choices are texts (got typing.Literal['a', 1])"),
        (Annotated[int, "note"], {}, "an annotation that a NodeSpec cannot express (got 'note')"),
        (Annotated[str, Field(pattern="a+")], {}, "a constraint that a NodeSpec cannot express"),
        (Annotated[float, Field(gt=0)], {}, "a constraint that a NodeSpec cannot express (got Gt(gt=0))"),
        (Annotated[int, Field(multiple_of=0.5)], {}, "a constraint that a NodeSpec cannot express"),
        (Annotated[int, Field(5)], {}, "write the default in the signature; aliases are not supported"),
        (Annotated[int, Field(alias="y")], {}, "write the default in the signature; aliases are not supported"),
        (int, {"x": None}, "has the default None but its type does not allow it"),
        (int, {"x": "five"}, "the default is not allowed: wrong type"),
        (Annotated[int, Field(ge=1)], {"x": 0}, "the default is not allowed: out of range"),
        (Image, {"x": 5}, "the default of a IMAGE can only be None"),
    ],
)
def test_an_annotation_is_refused(annotation: Any, default: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        port(annotation, **default)
    assert caught.value.code == "bad_node_definition"
    assert f", parameter 'x': {text}" in str(caught.value)


def test_a_function_that_is_no_node_is_refused() -> None:
    def bare(x: int) -> None: ...
    def untyped(x) -> None:  # type: ignore[no-untyped-def]
        """Help."""

    def many(*x: int) -> None:
        """Help."""

    def silent(x: int):  # type: ignore[no-untyped-def]
        """Help."""

    for function, text in (
        (bare, "a node needs a docstring: it is the help that users read"),
        (untyped, "parameter 'x': has no type"),
        (many, "parameter 'x': *args and **kwargs are not ports"),
        (silent, "has no return type"),
    ):
        with pytest.raises(SpecError) as caught:
            spec(function)
        assert text in str(caught.value)
    with pytest.raises(SpecError, match="is not a node"):
        definition(bare)


def simple() -> int:
    """Help."""
    return 1


def lazy(x: Lazy[int]) -> int:
    """Help."""
    return 1


@pytest.mark.parametrize(
    ("function", "how", "text"),
    [
        (simple, {"type": ""}, "a node type is letters, digits, '_' and '-'"),
        (simple, {"type": "a/b"}, "a node type is letters, digits, '_' and '-' (got a/b)"),
        (simple, {"purity": "clean"}, "unknown purity (expected pure, external, nondeterministic, sink, got clean)"),
        (simple, {"purity": "external"}, "an external node, and only one, has a fingerprint"),
        (simple, {"fingerprint": simple}, "an external node, and only one, has a fingerprint"),
        (simple, {"needs": simple}, "a node with lazy inputs, and only one, has needs="),
        (lazy, {}, "a node with lazy inputs, and only one, has needs="),
        (simple, {"aliases": "duotone"}, "aliases are a tuple of texts (got 'duotone')"),
        (simple, {"aliases": ("", 5)}, "aliases are a tuple of texts (got ('', 5))"),
        (simple, {"display_name": "x" * 61}, "a display name is one line of at most 60 characters"),
        (
            simple,
            {"deprecated": "two\nlines"},
            "`deprecated` says what to use instead (expected one line of at most 200 characters, got 'two\\nlines')",
        ),
        (simple, {"deprecated": True}, "`deprecated` says what to use instead"),
        (simple, {"display_name": "two\nlines"}, "a display name is one line of at most 60 characters"),
    ],
)
def test_what_a_node_says_of_itself_is_checked(function: Any, how: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        node(**{"type": "N", **how})(function)
    assert text in str(caught.value)


def test_names_for_people_and_advanced_inputs_survive_the_record() -> None:
    def named(x: Annotated[int, Field(ge=0), Advanced()] = 1, y: Annotated[int, Advanced] = 2, z: int = 3) -> int:
        """Help."""
        return x

    found = spec(named, display_name="Two colours", aliases=("duotone", "双色"), deprecated="use B")
    assert (found.display_name, found.aliases, found.deprecated) == ("Two colours", ("duotone", "双色"), "use B")
    assert [port.advanced for port in found.inputs] == [True, True, False]
    assert spec_from_record(json.loads(json.dumps(found.record()))) == found


@pytest.mark.parametrize(
    ("annotation", "outputs"),
    [
        (None, ()),
        (int, (OutputSpec(name="value", kind="INT"),)),
        (Image, (OutputSpec(name="image", kind="IMAGE"),)),
        (list[Image], (OutputSpec(name="images", kind="IMAGE", is_list=True),)),
        (list[int], (OutputSpec(name="values", kind="INT", is_list=True),)),
        (Any, (OutputSpec(name="value", kind="ANY"),)),
        (Two, (OutputSpec(name="one", kind="INT"), OutputSpec(name="images", kind="IMAGE", is_list=True))),
    ],
)
def test_the_return_type_is_the_outputs(annotation: Any, outputs: tuple[OutputSpec, ...]) -> None:
    def function():  # type: ignore[no-untyped-def]
        """Help."""

    function.__annotations__["return"] = annotation
    assert spec(function).outputs == outputs
    assert spec(function).several == (annotation is Two)


def test_the_context_is_found_by_its_annotation() -> None:
    def function(world: Context, x: int) -> None:
        """Help."""

    found = spec(function)
    assert (found.context, [port.name for port in found.inputs]) == ("world", ["x"])


@pytest.mark.parametrize("function", toys.NODES, ids=lambda function: function.__name__)
def test_a_spec_survives_json(function: Any) -> None:
    made = definition(function).spec
    assert spec_from_record(json.loads(json.dumps(made.record()))) == made


def test_a_registration_survives_json() -> None:
    made = Registration(next(iter(toys.registry().distributions.values())))
    made.node(*toys.NODES)
    made.type(toys.Token)
    made.sampler("slow", toys.make_up, order=2)
    again = Registration.from_record(made.distribution, json.loads(json.dumps(made.record())))
    assert (again.nodes, again.types, again.extensions) == (made.nodes, made.types, made.extensions)


def test_only_what_has_a_name_in_a_module_can_be_registered() -> None:
    with pytest.raises(Exception, match="only functions and classes at the top of a module can be registered"):
        Ref.of(lambda: None)
    with pytest.raises(Exception, match="toys:gone is gone"):
        Ref("toys:gone").load()


def test_environment_belongs_to_nodes_with_values() -> None:
    numeric = {function.__name__: definition(function).spec.numeric for function in toys.NODES}
    assert (numeric["add"], numeric["read_file"], numeric["pass_on"]) == (False, False, False)
    assert numeric["mean"] and numeric["make_image"]


# Literals


@pytest.mark.parametrize(
    ("fields", "value", "result"),
    [
        ({"kind": "INT"}, 5, 5),
        ({"kind": "INT"}, 5.0, 5),
        ({"kind": "INT"}, "18446744073709551615", 2**64 - 1),
        ({"kind": "INT"}, "-5", -5),
        ({"kind": "FLOAT"}, 5, 5.0),
        ({"kind": "FLOAT"}, -0.0, -0.0),
        ({"kind": "INT", "optional": True}, None, None),
        ({"kind": "JSON"}, {"a": (1, None)}, {"a": [1, None]}),
        ({"kind": "ANY"}, [1, "x"], [1, "x"]),
        ({"kind": "ANY"}, None, None),
        ({"kind": "INT", "multiple_of": 8}, 2**63 + 8, 2**63 + 8),
        ({"kind": "FLOAT", "multiple_of": 0.1}, 0.3, 0.3),
        ({"kind": "STRING", "max_length": 2}, "üü", "üü"),
        ({"kind": "BOOLEAN"}, False, False),
        ({"kind": "CHOICE", "choices": ("a",)}, "a", "a"),
        ({"kind": "IMAGE"}, "anything", "anything"),
    ],
)
def test_a_literal_is_brought_to_its_type(fields: dict[str, Any], value: Any, result: Any) -> None:
    assert repr(coerce(InputSpec(name="x", **fields), value)) == repr(result)


@pytest.mark.parametrize(
    ("fields", "value", "code", "got"),
    [
        ({"kind": "INT"}, "--5", "wrong_type", "'--5'"),
        ({"kind": "INT"}, "5\n", "wrong_type", "'5\\n'"),
        ({"kind": "INT"}, "٣", "wrong_type", "'٣'"),
        ({"kind": "INT"}, "1" * 21, "wrong_type", "'111111111111111111111'"),
        ({"kind": "INT"}, 1e20, "wrong_type", "1e+20"),
        ({"kind": "INT"}, float("inf"), "wrong_type", "inf"),
        ({"kind": "INT"}, True, "wrong_type", "True"),
        ({"kind": "INT", "widget": "seed"}, "random", "unresolved_seed", None),
        ({"kind": "INT", "minimum": 0}, -(10**400), "out_of_range", "an integer of 1329 bits"),
        ({"kind": "INT", "multiple_of": 8}, 10**400 + 1, "out_of_range", "an integer of 1329 bits"),
        ({"kind": "FLOAT"}, float("nan"), "wrong_type", "nan"),
        ({"kind": "FLOAT"}, "1", "wrong_type", "'1'"),
        ({"kind": "FLOAT"}, False, "wrong_type", "False"),
        ({"kind": "FLOAT", "multiple_of": 0.5}, 0.7, "out_of_range", "0.7"),
        ({"kind": "STRING"}, 5, "wrong_type", "5"),
        ({"kind": "STRING"}, "\ud800", "wrong_type", "'\\ud800'"),
        ({"kind": "STRING", "min_length": 1}, "", "out_of_range", "0"),
        ({"kind": "STRING", "max_length": 1}, "ab", "out_of_range", "2"),
        ({"kind": "BOOLEAN"}, 1, "wrong_type", "1"),
        ({"kind": "CHOICE", "choices": ("a",)}, "b", "unknown_choice", "'b'"),
        ({"kind": "CHOICE"}, 5, "wrong_type", "5"),
        ({"kind": "JSON"}, {"a": float("nan")}, "wrong_type", "a dict of 1"),
        ({"kind": "JSON"}, {"a": {1, 2}}, "wrong_type", "a dict of 1"),
        ({"kind": "INT"}, None, "wrong_type", "None"),
        ({"kind": "FILE"}, 5, "wrong_type", "5"),
    ],
)
def test_a_literal_is_refused(fields: dict[str, Any], value: Any, code: str, got: str | None) -> None:
    with pytest.raises(LiteralError) as caught:
        coerce(InputSpec(name="x", **fields), value)
    assert (caught.value.fields["code"], caught.value.fields.get("got")) == (code, got)


def test_a_wrong_multiple_names_its_neighbours() -> None:
    for step, value, hint in ((8, 13, "the nearest are 8 and 16"), (0.5, 0.7, "the nearest are 0.5 and 1")):
        with pytest.raises(LiteralError) as caught:
            coerce(InputSpec(name="x", kind="INT" if step == 8 else "FLOAT", multiple_of=step), value)
        assert caught.value.fields["hint"] == hint


def test_plain_copies() -> None:
    ring: list[Any] = []
    ring.append(ring)
    value = {"a": [1]}
    assert plain(value) == value and plain(value)["a"] is not value["a"]
    with pytest.raises(ValueError, match="Circular reference detected"):
        plain(ring)


class Kindly:
    kind: ClassVar[str] = "KINDLY"


def test_a_class_with_a_kind_is_a_port() -> None:
    assert port(Kindly).kind == "KINDLY"
