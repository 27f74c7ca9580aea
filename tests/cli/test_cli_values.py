import pytest

from latentloom.cli.input_values import bounds, metavar
from latentloom.engine.document.input_texts import value_of
from latentloom.engine.types.spec import InputSpec


def port(kind, **facts):
    return InputSpec(name="x", kind=kind, **facts)


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        (port("INT"), "5", 5),
        (port("INT"), "-5", -5),
        (port("INT"), "1e3", "1e3"),
        (port("INT"), "\u0665", "\u0665"),
        (port("INT"), "9" * 5000, "9" * 5000),
        (port("INT", widget="seed"), "random", "random"),
        (port("INT", optional=True), "null", None),
        (port("FLOAT"), "0.5", 0.5),
        (port("FLOAT"), "half", "half"),
        (port("BOOLEAN"), "Yes", True),
        (port("BOOLEAN"), "off", False),
        (port("BOOLEAN"), "maybe", "maybe"),
        (port("STRING"), "5", "5"),
        (port("STRING", optional=True), "null", "null"),
        (port("CHOICE", choices=("a",)), "a", "a"),
        (port("FILE"), "cat.png", "cat.png"),
        (port("STRING", is_list=True), '["a", "b"]', ["a", "b"]),
        (port("STRING", is_list=True), "a", "a"),
        (port("JSON"), '{"a": [1]}', {"a": [1]}),
        (port("JSON"), '{"a": NaN}', '{"a": NaN}'),
        (port("ANY"), "7", 7),
        (None, "7", "7"),
    ],
)
def test_a_text_becomes_the_value_of_its_port(spec, text, value):
    found = value_of(spec, text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_stays_a_float_for_the_validator():
    assert str(value_of(port("FLOAT"), "nan")) == "nan"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (port("INT", minimum=1, maximum=9), "1..9"),
        (port("FLOAT", minimum=0), "at least 0"),
        (port("FLOAT", maximum=0.5), "at most 0.5"),
        (port("INT", minimum=8, maximum=16, multiple_of=8), "8..16, a multiple of 8"),
        (port("STRING", max_length=4), "0..4 characters"),
        (port("STRING"), ""),
    ],
)
def test_bounds_are_told_in_words(spec, text):
    assert bounds(spec) == text


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (port("INT"), "INT"),
        (port("INT", widget="seed"), "INT|random"),
        (port("CHOICE", choices=("up", "down")), "up|down"),
        (port("CHOICE", source="samplers"), "CHOICE"),
        (port("STRING", is_list=True), "[STRING, ...]"),
    ],
)
def test_a_metavar_says_what_may_stand_there(spec, text):
    assert metavar(spec) == text
