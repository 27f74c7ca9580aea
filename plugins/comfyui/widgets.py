"""Widget values by name. The editor saves most of them as lists, whose order depends on the class."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from latentloom.engine.errors import brief
from latentloom.plugins.comfyui.drawn import Part, Port

CONTROL = "control_after_generate"
CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
UPLOAD = "upload"  # a button that has a position in the list
WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
SEEDS = frozenset({"seed", "noise_seed"})
LORAS = "Power Lora Loader (rgthree)"


class Values(NamedTuple):
    """Widget values by name, the values without a name, and the control word after a seed."""

    named: dict[str, Any]
    rest: tuple[Any, ...] = ()
    control: str | None = None


@cache
def _orders() -> Mapping[str, Any]:
    """Return the known widget orders: by class, and by class and dynamic combo for the options of the combo."""
    return json.loads((files("latentloom.plugins.comfyui") / "widget_orders.json").read_bytes())  # type: ignore[no-any-return]


def widget_values(part: Part) -> Values:
    """Return the values of a node's widgets by name."""
    given, named = part.values, part.raw.get("widgets_values_named")
    if type(named) is dict and (type(given) is not list or len(named) >= len(given)):
        control = named.get(CONTROL)
        return Values(_without_controls(named), control=control if type(control) is str else None)
    if type(given) is dict:
        return Values(_without_controls(given))
    if type(given) is not list or not given:
        return Values({})
    if part.type == LORAS:
        return Values(_loras(given))
    return _listed(part, given)


def _listed(part: Part, given: list[Any]) -> Values:
    kind, shown = part.type.strip(), _shown(part)
    known = [paired(order, given, _orders()["dynamic"].get(kind, {})) for order in _orders()["orders"].get(kind, [])]
    whole = [found for found, missing in known if not found.rest and not missing]
    if not whole and shown is not None:
        return shown
    if whole or known:
        return (whole or [min(known, key=lambda one: (len(one[0].rest), one[1]))[0]])[0]
    return Values({}, tuple(given))


def _shown(part: Part) -> Values | None:
    """Return the values by the names of the widgets' sockets, if all widgets have sockets."""
    order: list[str] = []
    for socket in part.sockets:
        if socket.widget is not None:
            order += [socket.widget, CONTROL] if socket.widget in SEEDS else [socket.widget]
    found, missing = paired(order, part.values, {})
    return found if order and not found.rest and not missing else None


def paired(order: Sequence[str], given: Sequence[Any], dynamic: Mapping[str, Any]) -> tuple[Values, int]:
    """Pair names and values. Returns the values and the number of names without a value.

    The control word after a seed and the upload button's value are optional. A dynamic combo is followed by the
    widgets of the chosen option.
    """
    found: dict[str, Any] = {}
    control, place, missing, waiting = None, 0, 0, deque(order)
    while waiting:
        name = waiting.popleft()
        here = place < len(given)
        value = given[place] if here else None
        if name.partition("#")[0] == CONTROL:
            if here and type(value) is str and value in CONTROLS:
                control, place = value, place + 1
            elif type(value) is bool and len(given) - place > len(waiting):  # as the first editors wrote it
                control, place = "randomize" if value else "fixed", place + 1
            elif here and value is None and len(given) - place > len(waiting):
                place += 1  # the slot is there, and empty
        elif name == UPLOAD:
            place += here and (value == "image" or value is None or len(given) - place > len(waiting))
        elif here:
            found[name] = value
            waiting.extendleft(reversed(dynamic.get(name, {}).get(value, []) if type(value) is str else ()))
            place += 1
        else:
            missing += 1
    return Values(found, tuple(given[place:]), control), missing


def _without_controls(values: Mapping[str, Any]) -> dict[str, Any]:
    dropped = (CONTROL, UPLOAD, "videopreview")  # buttons and previews, not values
    return {name: value for name, value in values.items() if name.partition("#")[0] not in dropped}


def _loras(given: Sequence[Any]) -> dict[str, Any]:
    """Return the rows of rgthree's list of LoRAs, with the names of the API format."""
    rows = [item for item in given if type(item) is dict and "lora" in item]
    return {f"lora_{n}": row for n, row in enumerate(rows, 1)}


def instance_values(part: Part, inputs: Sequence[Port]) -> dict[str, Any]:
    """Return the values that one use of a subgraph sets for its inputs; empty if the inner nodes have the values."""
    named, given = part.raw.get("widgets_values_named"), part.values
    if type(named) is dict and named:
        return _without_controls(named)
    if type(given) is not list or not given:
        return {}
    order: list[str] = []
    for port in inputs:
        if port.type in WIDGETS:
            order += [port.name, CONTROL] if port.type == "INT" else [port.name]
    return paired(order, given, {})[0].named


def first_value(part: Part) -> Any:
    """Return the value of a node with one widget; None if there is none."""
    values = list(part.values.values()) if type(part.values) is dict else part.values
    return values[0] if type(values) is list and values else None


def described(rest: Sequence[Any]) -> str:
    """Describe values without names, for a line of the report."""
    few = ", ".join(brief(value) for value in rest[:3])
    return f"{few}, ..." if len(rest) > 3 else few
