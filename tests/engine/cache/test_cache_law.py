"""The law: run(cache on) == run(cache off), for any graph, edit, restart and eviction."""

import itertools
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.api import Session
from latentloom.engine import Image

EXAMPLES = 200 if os.environ.get("LATENTLOOM_FULL_TESTS") else 25

PICTURES = ("MakeImage", "SlowImage", "Invert", "Flat", "Blend", "Grow", "If", "Split")
NUMBERS = ("Add", "Sum", "Mean", "Chain", "Sleep", "Count")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A graph of pictures and numbers; every node may read any earlier one."""
    nodes: dict[str, Any] = {"p0": toys.use("MakeImage", level=0.3), "n0": toys.use("Add", a=1)}
    pictures, numbers = ["@p0.image"], ["@n0"]
    for k in range(1, draw(st.integers(1, 7))):
        id = f"x{k}"
        picture, other = draw(st.sampled_from(pictures)), draw(st.sampled_from(pictures))
        number = draw(st.sampled_from(numbers))
        kind = draw(st.sampled_from(PICTURES + NUMBERS))
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
            "Count": {"tag": draw(st.sampled_from("ab")), "value": number},
        }[kind]
        nodes[id] = toys.use(kind, **inputs)
        if kind == "Split":
            nodes[f"{id}b"] = toys.use("Blend", images=f"@{id}.images")
            pictures.append(f"@{id}b.image")
        elif kind in PICTURES:
            pictures.append(f"@{id}" if kind == "If" else f"@{id}.image")
        elif kind != "Mean":
            numbers.append(f"@{id}")
    readable = [*pictures, *numbers, *(f"@{id}" for id, n in nodes.items() if n["type"] == "toys/Mean")]
    ends = draw(st.lists(st.sampled_from(readable), min_size=1, max_size=3, unique=True))
    return toys.flow(" ".join(end[1:] for end in ends), **nodes)


def plain(value: Any) -> Any:
    return value.numpy().tobytes() if isinstance(value, Image) else value


def outputs(session: Session, document: dict[str, Any], *, cache: bool) -> dict[str, Any]:
    return {name: plain(value) for name, value in session.run(document, cache=cache).outputs.items()}


def edited(document: dict[str, Any], choose: random.Random) -> dict[str, Any]:
    """The document with one literal changed."""
    places = [
        (id, name, other)
        for id, node in document["nodes"].items()
        for name, other in (("level", 0.7), ("b", 5), ("flag", False), ("levels", 0), ("tag", "c"))
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


MEMORY = (0, 700, 2**30)


@settings(max_examples=EXAMPLES)
@given(documents(), st.lists(st.sampled_from(("edit", "restart", "evict", "forget", "swap")), max_size=5), st.randoms())
def test_a_run_with_the_cache_gives_what_a_run_without_it_gives(
    document: dict[str, Any], acts: list[str], choose: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        session = toys.session(home, memory_cache_bytes=choose.choice(MEMORY))
        try:
            for act in ["", *acts]:
                if act == "edit":
                    document = edited(document, choose)
                if act in ("restart", "swap"):
                    session.close()
                    session = toys.session(home, memory_cache_bytes=choose.choice(MEMORY))
                if act == "evict":
                    evict(home, choose)
                if act == "swap":
                    blobs = sorted(home.glob("cache/blobs/*/*.safetensors"))
                    for one, two in itertools.pairwise(blobs):
                        one.write_bytes(two.read_bytes())
                if act == "forget":
                    session.engine.cache.forget_memory()
                assert outputs(session, document, cache=True) == outputs(session, document, cache=False)
        finally:
            session.close()
