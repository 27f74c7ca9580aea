"""Identity: equal bytes only for equal values of equal types."""

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.keys import Base, Fields, Unhashable, array_digest, canonical, digest, literal_digest

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from((0.0, -0.0, 1.0))
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
    | st.sampled_from(("N", "T", "i1;", "s1:a", "", "1"))
    | st.binary(max_size=4)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab1:;", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """A form that is equal only for values of equal types."""
    if isinstance(value, list):
        return ("list", tuple(typed(item) for item in value))
    if isinstance(value, dict):
        return ("dict", tuple(sorted((name, typed(item)) for name, item in value.items())))
    return (type(value).__name__, repr(value))


@settings(max_examples=200)
@given(VALUES, VALUES)
def test_equal_bytes_mean_equal_values(one: Any, two: Any) -> None:
    assert (canonical(one) == canonical(two)) == (typed(one) == typed(two))


@settings(max_examples=200)
@given(st.lists(ATOMS, max_size=4), st.integers(0, 4))
def test_where_a_list_ends_matters(items: list[Any], place: int) -> None:
    left, right = items[:place], items[place:]
    assert canonical([left, right]) != canonical([items])
    assert canonical([[*left, "x"], right]) != canonical([left, ["x", *right]])


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) == digest(MappingProxyType({"b": 2, "a": 1}))


def test_a_tuple_is_a_list() -> None:
    assert digest((1, 2)) == digest([1, 2])


def test_alike_values_of_other_types_differ() -> None:
    values = (1, True, 1.0, "1", b"1", [1], {"1": 1}, None, "None", 0.0, -0.0, 0, False, "", [], {})
    assert len({digest(value) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "NaN has no identity"),
        ([{"a": float("nan")}], "NaN has no identity"),
        ({1: 2}, "a mapping's key must be text, got int"),
        ({1: 2, "a": 3}, "a mapping's key must be text, got int"),
        ({1, 2}, "set has no canonical bytes"),
        (object(), "object has no canonical bytes"),
        (np.float64(1), "float64 has no canonical bytes"),
        ("\ud800", "a text contains an unpaired surrogate"),
        ({"\ud800": 1}, "a text contains an unpaired surrogate"),
    ],
)
def test_what_has_no_identity_is_refused(value: Any, text: str) -> None:
    with pytest.raises(Unhashable) as caught:
        digest(value)
    assert str(caught.value) == text


def test_depth_needs_no_recursion() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    wide: Any = 1
    for _ in range(100_000):
        wide = {"a": wide}
    assert digest(deep) != digest(wide)


def test_large_integers_have_no_limit() -> None:
    assert digest(10**5000) != digest(10**5000 + 1)


def test_a_digest_does_not_change_between_versions_of_this_code_unnoticed() -> None:
    value = {"a": [1, 2.5, None, True, "ü"], "b": b"\x00"}
    assert canonical(value) == (b"d2:s1:al5:i1;f\x00\x00\x00\x00\x00\x00\x04@NTs2:\xc3\xbcs1:bb1:\x00")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)),
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
        (np.zeros(0, np.float32), np.zeros((0, 1), np.float32)),
        (np.zeros(1, np.float32), -np.zeros(1, np.float32)),
    ],
)
def test_arrays_differ_in_shape_type_and_sign(one: Any, two: Any) -> None:
    assert array_digest("K", None, [one]) != array_digest("K", None, [two])


def test_arrays_differ_in_where_one_ends() -> None:
    array = np.arange(4, dtype=np.float32)
    assert array_digest("K", None, [array[:2], array[2:]]) != array_digest("K", None, [array])


def test_kinds_differ() -> None:
    assert literal_digest("INT", 1) != literal_digest("FLOAT", 1)
    assert array_digest("A", None, []) != array_digest("B", None, [])


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("ab"), VALUES, VALUES), min_size=2, max_size=2))
def test_step_keys_differ_when_any_field_does(parts: list[Any]) -> None:
    one, two = (Fields(Base.of({"type": t}), {"x": value}, {"m": more}) for t, value, more in parts)
    assert (one.key() == two.key()) == (typed(list(parts[0])) == typed(list(parts[1])))
