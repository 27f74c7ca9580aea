"""How inputs are shown in the help of the command line: placeholders and bounds."""

from latentloom.engine.types.spec import InputSpec


def metavar(port: InputSpec) -> str:
    """Return the placeholder for a value of the input in the help."""
    if port.is_list:
        return f"[{port.kind}, ...]"
    if port.kind == "CHOICE" and 0 < len(port.choices) <= 6:
        return "|".join(port.choices)
    names = {
        "STRING": "TEXT",
        "FLOAT": "NUMBER",
        "BOOLEAN": "true|false",
        "FILE": "PATH",
        "MODEL_FILE": "MODEL",
        "INT": "INT|random" if port.seed else "INT",
    }
    return names.get(port.kind, port.kind)


def bounds(port: InputSpec) -> str:
    """Return the range of an input as text, "" if it has none."""
    low, high = port.minimum, port.maximum
    facts = []
    if low is not None and high is not None:
        facts.append(f"{number(low)}..{number(high)}")
    elif low is not None or high is not None:
        facts.append(f"at least {number(low)}" if low is not None else f"at most {number(high)}")
    if port.multiple_of is not None:
        facts.append(f"a multiple of {number(port.multiple_of)}")
    if port.min_length or port.max_length is not None:
        facts.append(f"{port.min_length or 0}..{'' if port.max_length is None else port.max_length} characters")
    return ", ".join(facts)


def number(value: float | None) -> str:
    """Return a bound as short text."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:g}"
