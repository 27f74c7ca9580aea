"""Ten-line nodes for tests of the engine, registered the way a plugin's are: types begin with `toys/`."""

import asyncio
import itertools
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.api import Session
from latentloom.engine import Context, Expansion, Image, InputFile, Lazy, Seed, Source, node
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES

RAN: list[str] = []
"""What ran, in order: nodes that count add their tag."""

Small = Annotated[int, Field(ge=0, le=100)]


class Token:
    """A value without a codec: it stays in this process."""

    kind: ClassVar[str] = "TOKEN"

    def __init__(self, text: str) -> None:
        self.text = text


@node("Add")
def add(a: int, b: int = 1) -> int:
    """Add two integers."""
    return a + b


@node("AddOld", deprecated="use toys/Add")
def add_old(a: int, b: int = 1) -> int:
    """Add two integers."""
    return a + b


@node("AddOlder", deprecated="use toys/Add")
def add_older(a: int) -> int:
    """Add one."""
    return a + 1


@node("Sum")
def total(items: list[int]) -> int:
    """Add integers up."""
    return sum(items)


@node("Concat")
def concat(texts: list[str], mark: str = "") -> str:
    """Join texts."""
    return mark.join(texts)


@node("Count")
def count(tag: str, value: int = 0) -> int:
    """Pass a number on and write the tag down."""
    RAN.append(tag)
    return value


class Divided(NamedTuple):
    quotient: int
    remainder: int


@node("Divide")
def divide(a: int, b: Annotated[int, Field(ge=1)]) -> Divided:
    """Divide with remainder."""
    return Divided(a // b, a % b)


@node("Range")
def numbers(n: Small) -> list[int]:
    """The numbers below n."""
    return list(range(n))


@node("Half")
def half(x: Annotated[float, Field(ge=-1000, le=1000)]) -> float:
    """Half of a number."""
    return x / 2


@node("Small")
def small(n: Small) -> int:
    """A number of 0..100."""
    return n


@node("Choose")
def choose(way: Literal["up", "down"] = "up") -> str:
    """A direction."""
    return way


@node("Words")
def words(data: dict[str, Any]) -> dict[str, Any]:
    """Pass JSON on."""
    return {"words": data}


@node("Seeded")
def seeded(seed: Seed) -> int:
    """Pass a seed on."""
    return seed


@node("MakeImage")
def make_image(level: Annotated[float, Field(ge=0, le=1)] = 0.5, size: Small = 4) -> Image:
    """A grey picture."""
    RAN.append(f"make {level:g}")
    return Image(np.full((1, size, size, 3), level, np.float32))


@node("Invert")
def invert(image: Image) -> Image:
    """The negative."""
    RAN.append("invert")
    return Image(1 - image.numpy())


@node("Blend")
def blend(images: list[Image]) -> Image:
    """The mean of pictures."""
    RAN.append("blend")
    return Image(np.mean([image.numpy() for image in images], axis=0))


@node("Flat")
def flat(image: Image) -> Image:
    """A picture of one grey whatever comes in."""
    RAN.append("flat")
    return Image(np.full(image.shape, 0.25, np.float32))


@node("Mean")
def mean(image: Image | None = None) -> float:
    """The mean of a picture's numbers; -1 without one."""
    RAN.append("mean")
    return -1.0 if image is None else float(image.numpy().mean())


@node("Split")
def split(image: Image, n: Small = 2) -> list[Image]:
    """The picture n times, ever darker."""
    return [Image(image.numpy() / (k + 1)) for k in range(n)]


def _wanted(flag: bool) -> list[str]:
    return ["yes"] if flag else ["no"]


@node("If", needs=_wanted)
def choose_one(flag: bool, yes: Lazy[Any], no: Lazy[Any]) -> Any:
    """One of two values; the other is never computed."""
    return yes if flag else no


@node("Pass")
def pass_on(value: Any) -> Any:
    """Pass anything on."""
    RAN.append("pass")
    return value


@node("Sleep")
async def sleep(ctx: Context, seconds: Annotated[float, Field(ge=0, le=10)], value: int = 0) -> int:
    """Wait without holding others up."""
    RAN.append("sleep")
    ctx.progress(1, 1)
    await asyncio.sleep(seconds)
    return value


@node("Await")
async def await_other(tag: str, value: int = 0) -> int:
    """Wait until another node has run, without holding it up."""
    while tag not in RAN:
        await asyncio.sleep(0.01)
    return value


@node("SlowImage")
async def slow_image(level: Annotated[float, Field(ge=0, le=1)] = 0.5) -> Image:
    """A grey picture, in a while."""
    RAN.append("slow image")
    await asyncio.sleep(0.02)
    return Image(np.full((1, 4, 4, 3), level, np.float32))


@node("Busy")
def busy(ctx: Context, steps: Annotated[int, Field(ge=0, le=100000)]) -> int:
    """Report progress step by step."""
    for step in range(steps):
        ctx.progress(step + 1, steps)
    return steps


@node("Stubborn")
def stubborn(ctx: Context, steps: Annotated[int, Field(ge=0, le=100000)]) -> int:
    """Swallow the cancel and give what there is."""
    step = 0
    try:
        for step in range(steps):
            ctx.progress(step, steps)
    except Exception:
        RAN.append("swallowed")
    return step


@node("Fold")
def fold(ctx: Context, steps: Small = 10, fail_at: int = -1) -> float:
    """A float that depends on the order of many additions; keeps its state at every step."""
    kept = ctx.kept()
    first, _, number = (kept or b"0 0").decode().partition(" ")
    value = float(number)
    for step in range(int(first), steps):
        if step == fail_at:
            raise ValueError("on the way")
        ctx.progress(step, steps, figures={"value": value})
        value = value / 3 + step
        RAN.append(f"fold {step}")
        ctx.keep(f"{step + 1} {value!r}".encode())
    return value


@node("Fail")
def fail(why: Literal["error", "exit", "interrupt", "loom", "base"] = "error", value: int = 0) -> int:
    """Raise."""
    from latentloom.engine.errors import FileError

    RAN.append("fail")
    if why == "exit":
        sys.exit(3)
    if why == "base":
        raise BaseException("at the root")
    if why == "loom":
        raise FileError("the file is odd", expected="a good one", got="this")
    raise ValueError("no such luck")


@node("FailOnce")
def fail_once(path: str) -> int:
    """Fail unless a file is there; make it."""
    if not Path(path).exists():
        Path(path).touch()
        raise ValueError("the first time")
    return 1


@node("FailAt")
def fail_at(value: int, at: int, path: str) -> int:
    """Pass a number on; fail at one of them unless a file is there, and make it."""
    return value if value != at or fail_once(path) == 1 else 0


@node("Above")
def above(value: int, limit: int = 0) -> bool:
    """Whether a number is above a limit."""
    return value > limit


@node("Mutate")
def mutate(image: Image, way: Literal["torch", "numpy"] = "torch") -> float:
    """Write into the input."""
    if way == "torch":
        image.tensor().mul_(0)
    else:
        image.numpy()[:] = 0
    return 0.0


@node("MutateWords")
def mutate_words(data: dict[str, Any]) -> int:
    """Write into JSON."""
    data["more"] = 1
    return len(data)


@node("External", purity="external", fingerprint=lambda path: Path(path).read_text())
def external(path: str) -> str:
    """The text of a file outside."""
    RAN.append("external")
    return Path(path).read_text()


@node("Random", purity="nondeterministic")
def random_number(top: int = 2**40) -> int:
    """Another number in every run."""
    RAN.append("random")
    return secrets.randbelow(top)


@node("Sink", purity="sink")
def sink(value: Any) -> Any:
    """Note a value in the list of what ran."""
    RAN.append(f"sink {value}" if not isinstance(value, Image) else "sink image")
    return value


@node("SaveText", purity="sink")
def save_text(ctx: Context, text: str) -> str:
    """Save a text."""
    return ctx.save("text", text, "note")


@node("Warn")
def warn(ctx: Context) -> int:
    """Warn."""
    ctx.warn("odd", "this is odd")
    return 1


@node("MakeToken")
def make_token(text: str) -> Token:
    """A token."""
    RAN.append("token")
    return Token(text)


@node("ReadToken")
def read_token(token: Token) -> str:
    """Its text."""
    return token.text


@node("ReadFile")
def read_file(file: InputFile) -> str:
    """The text of an input file."""
    return Path(file.path).read_text()


@node("Chain")
def chain(ctx: Context, n: Small, a: int, deep: bool = False) -> int:
    """Expand to n additions of 1; deep: each inside the last."""
    RAN.append(f"chain {n}")
    if n == 0:
        return Expansion({}, {"value": ctx.edge("a")})  # type: ignore[return-value]
    step = {"type": "toys/Add", "inputs": {"a": ctx.edge("a")}}
    if deep:
        rest = {"type": "toys/Chain", "inputs": {"n": n - 1, "a": {"node": "one", "output": "value"}, "deep": True}}
        nodes = {"one": step, "rest": rest}
        return Expansion(nodes, {"value": {"node": "rest", "output": "value"}})  # type: ignore[return-value]
    nodes = {"x0": step}
    for k in range(1, n):
        nodes[f"x{k}"] = {"type": "toys/Add", "inputs": {"a": {"node": f"x{k - 1}", "output": "value"}}}
    return Expansion(nodes, {"value": {"node": f"x{n - 1}", "output": "value"}})  # type: ignore[return-value]


@node("Grow")
def grow(ctx: Context, levels: Small, image: Image, extra: list[Image]) -> Image:
    """Blend inverted pictures, `levels` deep, by expansion with edges in a list."""
    nodes: dict[str, Any] = {
        "dark": {"type": "toys/Invert", "inputs": {"image": ctx.edge("image")}},
        "mix": {"type": "toys/Blend", "inputs": {"images": [{"node": "dark", "output": "image"}, *ctx.edge("extra")]}},
    }
    if not levels:
        return Expansion(nodes, {"image": {"node": "mix", "output": "image"}})  # type: ignore[return-value]
    again = {"levels": levels - 1, "image": {"node": "mix", "output": "image"}, "extra": ctx.edge("extra")}
    nodes["deeper"] = {"type": "toys/Grow", "inputs": again}
    return Expansion(nodes, {"image": {"node": "deeper", "output": "image"}})  # type: ignore[return-value]


@node("Endless")
def endless(n: int = 0) -> int:
    """Expand for ever."""
    nodes = {"more": {"type": "toys/Endless", "inputs": {"n": n + 1}}}
    return Expansion(nodes, {"value": {"node": "more", "output": "value"}})  # type: ignore[return-value]


_EXPANSIONS: dict[str, Any] = {
    "outputs": Expansion({"x": {"type": "toys/Add", "inputs": {"a": 1}}}, {"sum": {"node": "x", "output": "value"}}),
    "kind": Expansion({"x": {"type": "toys/Choose"}}, {"value": {"node": "x", "output": "value"}}),
    "type": Expansion({"x": {"type": "toys/Ad", "inputs": {"a": 1}}}, {"value": {"node": "x", "output": "value"}}),
    "form": Expansion({"x": {"type": "toys/Add", "inpts": {}}}, {"value": {"node": "x", "output": "value"}}),
    "list": Expansion([1, 2], {"value": {"node": "x", "output": "value"}}),  # type: ignore[arg-type]
    "edge": Expansion({"x": {"type": "toys/Add", "inputs": {"a": 1}}}, {"value": 5}),  # type: ignore[dict-item]
    "seed": Expansion(
        {"x": {"type": "toys/Seeded", "inputs": {"seed": "random"}}}, {"value": {"node": "x", "output": "value"}}
    ),
    "sink": Expansion(
        {
            "x": {"type": "toys/Add", "inputs": {"a": 1}},
            "s": {"type": "toys/Sink", "inputs": {"value": {"node": "x", "output": "value"}}},
        },
        {"value": {"node": "x", "output": "value"}},
    ),
    "random": Expansion({"x": {"type": "toys/Random"}}, {"value": {"node": "x", "output": "value"}}),
}


@node("Expand")
def expand(way: Literal[tuple(_EXPANSIONS)]) -> int:  # type: ignore[valid-type]
    """Answer with one of several expansions."""
    RAN.append("expand")
    return _EXPANSIONS[way]  # type: ignore[no-any-return]


_WRONG: dict[str, Any] = {
    "text": "five",
    "none": None,
    "nan": float("nan"),
    "image": Image(np.zeros((1, 1, 1, 3), np.float32)),
    "list": [1],
    "bool": True,
}


@node("WrongInt")
def wrong_int(way: Literal[tuple(_WRONG)]) -> int:  # type: ignore[valid-type]
    """Return something else than an integer."""
    return _WRONG[way]  # type: ignore[no-any-return]


@node("WrongTuple")
def wrong_tuple() -> Divided:
    """Return one value instead of two."""
    return (1,)  # type: ignore[return-value]


@node("WrongImage")
def wrong_image() -> Image:
    """Return an array instead of a picture."""
    return np.zeros((1, 2, 2, 3))  # type: ignore[return-value]


@node("WrongList")
def wrong_list() -> list[int]:
    """Return a number instead of a list."""
    return 5  # type: ignore[return-value]


@node("Odd")
def odd(way: Literal["set", "nan", "surrogate", "tuple", "keys", "cycle", "bytes", "object"]) -> Any:
    """Return what JSON cannot hold, or holds in another form."""
    ring: list[Any] = []
    ring.append(ring)
    found: dict[str, Any] = {
        "set": {1},
        "nan": {"x": float("nan")},
        "surrogate": "\ud800",
        "tuple": {"pair": (1, 2)},
        "keys": {1: "one"},
        "cycle": ring,
        "bytes": b"x",
        "object": object(),
    }
    return found[way]


@node("AnyList")
def any_list() -> list[Any]:
    """Values of several kinds in one list."""
    return [1, "two", Image(np.zeros((1, 1, 1, 3), np.float32))]


def _upgrade(inputs: dict[str, Any], version: int) -> dict[str, Any]:
    if "broken" in inputs:
        raise ValueError("nothing to be done")
    return {"n": inputs.get("number", 0), "was": version}


@node("Moved", version=3, migrate=_upgrade)
def moved(n: int, was: int = 0) -> int:
    """A node of a third version."""
    return n


@node("Fixed", version=2)
def fixed(n: int = 0) -> int:
    """A node of a second version that cannot migrate."""
    return n


def make_up(x: float) -> float:
    """A toy sampler."""
    return x


@node("Sample")
def sample(name: Annotated[str, Source("samplers")]) -> str:
    """Use a registered sampler."""
    return name


HUNGER: list[int] = []
"""How many more times the hungry nodes run out of memory."""


@node("Hungry", device=True)
def hungry(tag: str) -> str:
    """Run out of memory as often as HUNGER says."""
    RAN.append(tag)
    if HUNGER and HUNGER.pop():
        raise MemoryError("tried to allocate 7 bytes")
    return tag


@node("Thrifty", device=True, economies=2)
def thrifty(ctx: Context, tag: str) -> str:
    """Run out of memory as often as HUNGER says; say which way it went."""
    return f"{hungry(tag)}{ctx.economy}"


@node("HungrySink", purity="sink", device=True)
def hungry_sink(tag: str) -> None:
    """Run out of memory where running twice could save twice."""
    hungry(tag)


@node("Pid", purity="nondeterministic")
def pid() -> int:
    """The process that runs."""
    return os.getpid()


NODES = tuple(thing for thing in list(globals().values()) if hasattr(thing, "__loom_node__"))


def registry(code: str = "code", *, plugin: str = "toys") -> Registry:
    """A registry with the port types, every toy, and one sampler."""
    made = Registration(Distribution("toy-nodes", "1.0", plugin, code))
    made.node(*NODES)
    made.sampler("slow", make_up)
    for cls in VALUE_TYPES:
        made.type(cls)
    made.type(Token)
    return Registry([made])


def session(home: Path, code: str = "code", **flags: Any) -> Session:
    """A session in a home of its own that knows the toys only."""
    return Session(load_settings(flags, {"LATENTLOOM_HOME": str(home)}), registry(code))


def edge(text: str) -> dict[str, str]:
    """`a.value` as an edge; the output is `value` unless it is named."""
    name, _, output = text.partition(".")
    return {"node": name, "output": output or "value"}


def use(type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a toy type; texts that begin with `@` are edges, in lists too."""
    version = {"Moved": 3, "Fixed": 2}.get(type, 1)
    return {"type": f"toys/{type}", "version": version, "inputs": {name: _wire(v) for name, v in inputs.items()}}


def _wire(value: Any) -> Any:
    if isinstance(value, list):
        return [_wire(item) for item in value]
    return edge(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def flow(outputs: str = "", **nodes: Any) -> dict[str, Any]:
    """A document; outputs is a space-separated list of nodes, or `node.output`s, named o0, o1, ..."""
    named = [{"name": f"o{n}", "from": edge(text)} for n, text in enumerate(outputs.split())]
    return {"format": "latentloom/1", "name": "test", "nodes": nodes, "outputs": named}


def ran() -> list[str]:
    """What ran since the last call."""
    found = list(RAN)
    RAN.clear()
    return found


def grid(kind: str, n: int) -> dict[str, Any]:
    """A document of n additions: a "chain", a "wide" sum of single nodes, or a "grid" of chains of ten."""
    numbers = itertools.count()
    nodes: dict[str, Any] = {}
    length = {"chain": n, "wide": 1, "grid": 10}[kind]
    ends = []
    for column in range(n // length):
        for row in range(length):
            a = f"@c{column}r{row - 1}" if row else column * 1000
            nodes[f"c{column}r{row}"] = use("Add", a=a, b=next(numbers) % 7)
        ends.append(f"c{column}r{length - 1}")
    return flow(" ".join(ends), **nodes)
