"""The law: run(cache on) == run(cache off), for any graph, edit, restart, eviction, update, file and shortage."""

import itertools
import os
import random
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from two_plugins import WORLD, in_plugin, opened

from latentloom.api import Session
from latentloom.engine import Image

EXAMPLES = 200 if os.environ.get("LATENTLOOM_FULL_TESTS") else 25

PICTURES = ("MakeImage", "SlowImage", "Invert", "Flat", "Blend", "Grow", "If", "Split")
NUMBERS = ("Add", "Sum", "Mean", "Chain", "Sleep", "Count")
TEXTS = ("MakeToken", "ReadFile", "p/ByName", "p/ByFile", "Thrifty", "p/Thrift")
FOREIGN = {"UsePatch": int, "p/Parent": int, "q/Child": int, "Facts": str, "About": str}  # and what they give
FILES = ("a.png", "b.png")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A graph of pictures, numbers and texts; every node may read any earlier one."""
    nodes: dict[str, Any] = {"p0": toys.use("MakeImage", level=0.3), "n0": toys.use("Add", a=1)}
    nodes["m0"] = in_plugin("p/Patched")
    pictures, numbers, texts = ["@p0.image"], ["@n0"], []
    for k in range(1, draw(st.integers(2, 8))):
        id = f"x{k}"
        picture, other = draw(st.sampled_from(pictures)), draw(st.sampled_from(pictures))
        number = draw(st.sampled_from(numbers))
        file, tag = draw(st.sampled_from(FILES)), draw(st.sampled_from("ab"))
        kind = draw(st.sampled_from(draw(st.sampled_from((PICTURES, NUMBERS, TEXTS, tuple(FOREIGN))))))
        inputs: dict[str, Any] = {
            "MakeImage": {"level": draw(st.sampled_from((0.0, 0.3, 1.0)))},
            "SlowImage": {"level": draw(st.sampled_from((0.3, 1.0)))},
            "Invert": {"image": picture},
            "Flat": {"image": picture},
            "Blend": {"images": [picture, other]},
            "Grow": {"levels": draw(st.integers(0, 1)), "image": picture, "extra": [other]},
            "If": {"flag": draw(st.booleans()), "yes": picture, "no": other},
            "Split": {"image": picture, "n": 2},
            "Add": {"a": number, "b": draw(st.integers(0, 2))},
            "Sum": {"items": [number, draw(st.integers(0, 2)), number]},
            "Mean": {"image": picture},
            "Chain": {"n": draw(st.integers(0, 2)), "a": number, "deep": draw(st.booleans())},
            "Sleep": {"seconds": 0.0, "value": number},
            "Count": {"tag": tag, "value": number},
            "UsePatch": {"model": "@m0.model"},
            "p/Parent": {"a": number},
            "q/Child": {"a": number},
            "MakeToken": {"text": tag},
            "ReadFile": {"file": file},
            "p/ByName": {"name": file},
            "p/ByFile": {"file": file},
            "Thrifty": {"tag": tag},
            "p/Thrift": {"tag": tag},
            "Facts": {"name": "s"},
            "About": {"file": file},
        }[kind]
        nodes[id] = {**toys.use(kind, **inputs), **({"type": kind} if "/" in kind else {})}
        if kind == "Split":
            nodes[f"{id}b"] = toys.use("Blend", images=f"@{id}.images")
            pictures.append(f"@{id}b.image")
        elif kind == "MakeToken":
            nodes[f"{id}r"] = toys.use("ReadToken", token=f"@{id}.token")
            texts.append(f"@{id}r")
        elif kind in PICTURES:
            pictures.append(f"@{id}" if kind == "If" else f"@{id}.image")
        elif kind in TEXTS or FOREIGN.get(kind) is str:
            texts.append(f"@{id}")
        elif kind != "Mean":
            numbers.append(f"@{id}")
    means = [f"@{id}" for id, n in nodes.items() if n["type"] == "toys/Mean"]
    ends = readable = [*pictures, *numbers, *texts, *means]
    if draw(st.booleans()):
        ends = draw(st.lists(st.sampled_from(readable), min_size=1, max_size=3, unique=True))
    return toys.flow(" ".join(end[1:] for end in ends), **nodes)


def plain(value: Any) -> Any:
    return value.numpy().tobytes() if isinstance(value, Image) else value


def outputs(session: Session, document: dict[str, Any], **options: Any) -> dict[str, Any]:
    outcome = session.run_job(session.prepare(document), **options)
    if outcome.error is not None:
        raise outcome.error
    return {name: plain(value) for name, value in outcome.outputs.items()}


def edited(document: dict[str, Any], choose: random.Random) -> dict[str, Any]:
    """The document with one literal changed."""
    places = [
        (id, name, other)
        for id, node in document["nodes"].items()
        for name, other in (("level", 0.7), ("b", 5), ("flag", False), ("levels", 0), ("tag", "c"), ("file", "b.png"))
        if name in node["inputs"]
    ]
    id, name, other = choose.choice(places)
    nodes = dict(document["nodes"])
    nodes[id] = {**nodes[id], "inputs": {**nodes[id]["inputs"], name: other}}
    return {**document, "nodes": nodes}


def evict(home: Path, choose: random.Random) -> None:
    """Remove some blobs and damage others."""
    for path in sorted(home.glob("cache/blobs/*/*.safetensors")):
        if choose.random() < 0.5:
            path.unlink()
        elif choose.random() < 0.3:
            path.write_bytes(path.read_bytes()[: choose.randrange(200)])


class Program:
    """Programs, one after the other, on one home."""

    def __init__(self, home: Path, choose: random.Random) -> None:
        self.home, self.choose, self.stack = home, choose, ExitStack()
        self.codes = {"p": "P1", "q": "Q1"}
        self.mark: str | None = None
        (home / "input").mkdir()
        WORLD.update(patch=1, child=1, about="known")
        for name in FILES:
            self.replace(name)
        self.start()

    def start(self) -> None:
        """Another program, with what was installed meanwhile."""
        self.stack.close()
        memory = self.choose.choice(MEMORY)
        opening = opened(self.home, **self.codes, samplers=self.mark, memory_cache_bytes=memory)
        self.session = self.stack.enter_context(opening)

    def update(self, document: dict[str, Any]) -> None:
        """Another version of a plugin, or one that was there before, and a start."""
        version = self.choose.choice((1, 2, 3))
        if self.choose.random() < 0.5:
            self.codes["p"] = f"P{version}"
            WORLD.update(patch=version, about=f"known {version}")
        else:
            self.codes["q"] = f"Q{version}"
            WORLD["child"] = version
            self.mark = None if version == 3 else str(version)
        self.start()

    def replace(self, name: str) -> None:
        """Other content for a file, or the content of the other."""
        place = self.home / "input" / name
        fresh = place.with_suffix(".new")
        fresh.write_text(self.choose.choice(("one", "two", "three")))
        fresh.replace(place)

    def run_short(self, document: dict[str, Any]) -> None:
        """Run out of memory, as often as it takes to compute in smaller parts, where there are any."""
        engine = self.session.engine
        level = engine.economies.of(engine.registry.nodes["toys/Thrifty"].spec)
        toys.HUNGER[:] = [1] * (2 - level)
        outputs(self.session, document, cache=False)
        toys.HUNGER.clear()

    def swap(self) -> None:
        """Values under each other's names."""
        blobs = sorted(self.home.glob("cache/blobs/*/*.safetensors"))
        for one, two in itertools.pairwise(blobs):
            one.write_bytes(two.read_bytes())


MEMORY = (0, 700, 2**30)
ACTS = ("edit", "restart", "evict", "forget", "swap", "update", "update", "replace", "replace", "short", "resume")


@settings(max_examples=EXAMPLES)
@given(documents(), st.lists(st.sampled_from(ACTS), min_size=1, max_size=6), st.randoms())
def test_a_run_with_the_cache_gives_what_a_run_without_it_gives(
    document: dict[str, Any], acts: list[str], choose: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder), choose)
        with program.stack:
            for act in ["", *acts]:
                resume = choose.choice("JK") if act == "resume" else None
                if act == "edit":
                    document = edited(document, choose)
                elif act in ("restart", "swap"):
                    program.start()
                elif act == "evict":
                    evict(program.home, choose)
                elif act == "forget":
                    program.session.engine.cache.forget_memory()
                elif act == "update":
                    program.update(document)
                elif act == "replace":
                    program.replace(choose.choice(FILES))
                elif act == "short":
                    program.run_short(document)
                if act == "swap":
                    program.swap()
                with_cache = outputs(program.session, document, resume=resume)
                assert with_cache == outputs(program.session, document, cache=False)
