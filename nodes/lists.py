"""Lists: numbers, seeds, columns of a table, and what combines lists. See docs/lists.md."""

import json
import random
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from latentloom.engine import Advanced, InputFile, Seed, Source, node
from latentloom.engine.errors import BadValueError, brief, nearest
from latentloom.engine.files.tables import read_rows

MAX_ITEMS = 1_000_000
EXACT = 2**53 - 1
Count = Annotated[int, Field(ge=0, le=MAX_ITEMS, description="How many items.")]
Items = Annotated[list[Any], Field(description="A list of anything.")]


@node("IntegerList", display_name="List of integers", aliases=("range", "count", "loop"), category="lists")
def integer_list(
    start: Annotated[int, Field(ge=-EXACT, le=EXACT, description="The first number.")] = 1,
    step: Annotated[int, Field(ge=-EXACT, le=EXACT, description="How much is added for each next one.")] = 1,
    count: Count = 4,
) -> list[int]:
    """Give whole numbers in equal steps, such as seeds or sizes."""
    if abs(start + step * count) > EXACT:
        raise BadValueError("the numbers get too large", expected="at most 2^53-1", got=str(start + step * count))
    return [start + step * n for n in range(count)]


@node("NumberList", display_name="List of numbers", aliases=("linspace", "range", "sweep"), category="lists")
def number_list(
    first: Annotated[float, Field(ge=-EXACT, le=EXACT, description="The first number.")] = 0.0,
    last: Annotated[float, Field(ge=-EXACT, le=EXACT, description="The last number, which is part of the list.")] = 1.0,
    count: Count = 5,
) -> list[float]:
    """Give numbers in equal distances from a first to a last one, such as strengths or values of cfg."""
    parts = max(count - 1, 1)
    return [first + (last - first) * n / parts for n in range(count)]


@node("SeedList", display_name="List of seeds", aliases=("random", "variations"), category="lists")
def seed_list(
    seed: Annotated[Seed, Field(description='Decides the list; "random" draws anew for each run.')] = 0,
    count: Count = 4,
) -> list[int]:
    """Give seeds of 0..2^32-1 that differ from each other. The first ones stay the same if the list gets longer."""
    draw, found = random.Random(seed), dict[int, None]()
    while len(found) < count:
        found[draw.getrandbits(32)] = None
    return list(found)


@node(
    "TableColumn",
    display_name="Column of a table",
    aliases=("csv", "jsonl", "prompts from file", "rows", "spreadsheet"),
    category="lists",
)
def table_column(
    file: Annotated[InputFile, Source("input"), Field(description="A CSV or JSONL file in the input folder.")],
    column: Annotated[str, Field(min_length=1, max_length=1000, description="The name in the header, or the key.")],
    missing: Annotated[str, Field(max_length=100_000, description="What a row without a value gets."), Advanced()] = "",
    kind: Annotated[
        Literal["auto", "text"], Field(description="auto: numbers, if all values are numbers. text: texts in any case.")
    ] = "auto",
) -> list[Any]:
    """Give one column of a table: of a CSV file with a header, or of a file with one JSON object a line.

    The file is UTF-8, with or without a byte order mark, or UTF-16 with one. Separators are commas, semicolons or tabs.
    Columns of one file have one length and go in step.
    """
    path = Path(file.path)
    rows = read_rows(path.read_bytes(), file.name)
    values = [_value(row, column, missing, n, rows) for n, row in enumerate(rows)]
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    return texts if kind == "text" else _numbers(texts, int) or _numbers(texts, float) or texts


def _value(row: dict[str, Any], column: str, missing: str, n: int, rows: list[dict[str, Any]]) -> Any:
    value = row.get(column)
    if n == 0 and not any(column in other for other in rows):
        names = list(dict.fromkeys(name for other in rows for name in other))
        raise BadValueError(
            f"there is no column '{column}'",
            expected=brief(", ".join(names), 200)[1:-1],
            nearest=nearest(column, names),
        )
    return missing if value is None or value == "" else value


def _numbers(texts: list[str], kind: type) -> list[Any] | None:
    """Return texts as numbers, or None if one is no finite number of this kind that JSON represents exactly."""
    try:
        found = [kind(text) for text in texts]
    except ValueError:
        return None
    return found if all(abs(value) <= EXACT for value in found) else None


@node("PickItem", display_name="Pick an item of a list", aliases=("select", "index", "get"), category="lists")
def pick_item(
    items: Items,
    index: Annotated[int, Field(ge=-MAX_ITEMS, le=MAX_ITEMS, description="From 0; -1 is the last one.")] = 0,
) -> Any:
    """Give one item of a list."""
    if not -len(items) <= index < len(items):
        raise BadValueError("the list has no such item", expected=f"below {len(items)}", got=str(index))
    return items[index]


@node("JoinLists", display_name="Join lists", aliases=("append", "concat"), category="lists")
def join_lists(first: Items, second: Items) -> list[Any]:
    """Put the items of one list behind those of another."""
    count = len(first) + len(second)
    if count > MAX_ITEMS:
        raise BadValueError("the joined list is too long", expected=f"at most {MAX_ITEMS} items", got=str(count))
    return [*first, *second]


class Pair(NamedTuple):
    """Two lists of one length."""

    first: list[Any]
    second: list[Any]


@node(
    "CombineLists", display_name="All combinations of lists", aliases=("product", "xy plot", "sweep"), category="lists"
)
def combine_lists(first: Items, second: Items) -> Pair:
    """Give every item of a first list with every item of a second: two lists of one length, which go in step.

    The second list changes faster.
    """
    count = len(first) * len(second)
    if count > MAX_ITEMS:
        raise BadValueError("too many combinations", expected=f"at most {MAX_ITEMS}", got=str(count))
    return Pair([one for one in first for _ in second], [two for _ in first for two in second])


@node("ZipLists", display_name="Pair lists", aliases=("zip", "together"), category="lists")
def zip_lists(
    first: Items,
    second: Items,
    unequal: Annotated[
        Literal["shortest", "cycle", "repeat last"],
        Field(description="Cut both to the shorter one, begin the shorter one again, or repeat its last item."),
        Advanced(),
    ] = "shortest",
) -> Pair:
    """Bring two lists to one length, so that they can go in step."""
    if unequal == "shortest":
        count = min(len(first), len(second))
        return Pair(first[:count], second[:count])
    count = max(len(first), len(second))
    if count and not (first and second):
        raise BadValueError("an empty list cannot be made longer", got=f"{len(first)} and {len(second)} items")
    return Pair(_longer(first, count, unequal), _longer(second, count, unequal))


def _longer(items: list[Any], count: int, how: str) -> list[Any]:
    return [items[n % len(items) if how == "cycle" else min(n, len(items) - 1)] for n in range(count)]


NODES = (integer_list, number_list, seed_list, table_column, pick_item, join_lists, combine_lists, zip_lists)
