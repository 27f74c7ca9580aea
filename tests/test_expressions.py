"""Every regular expression of the package takes time that grows with a text's length and no faster."""

import importlib
import inspect
import itertools
import pkgutil
import re
import time

import pytest

PACKAGES = ("engine", "plugins", "nodes", "api", "web", "cli")
LENGTH = 20_000
SECONDS = 2.0  # of the processor; a linear one takes milliseconds, a quadratic one more than ten seconds


def expressions() -> dict[str, re.Pattern[str]]:
    """Those that modules keep, by module and name."""
    roots = [importlib.import_module(f"latentloom.{package}") for package in PACKAGES]
    modules = [module.name for root in roots for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
    return {
        f"{module}.{name}": value
        for module in modules
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
    }


def pumped(pattern: str) -> list[str]:
    """Texts of what the expression speaks of, again and again, with something in the end that fits nothing."""
    words = sorted(set(re.findall(r"[A-Za-z_]{3,}|[^\w\s]", pattern)))[:12]
    pieces = ["1", "a", " ", "-1", ".1", *words]
    starts = ["", *(f"{word}1" for word in words)]
    texts = [piece * (LENGTH // len(piece)) for piece in (*pieces, *map("".join, itertools.product(words, "1a ")))]
    return [f"{start}{text}\0" for start in starts[:6] for text in texts]


def searches(name: str) -> bool:
    """Whether an expression is looked for anywhere in a text, and not at its beginning alone."""
    module, _, own = name.rpartition(".")
    source = inspect.getsource(importlib.import_module(module))
    return re.search(rf"{own}\.(search|sub|split|find)", source) is not None


@pytest.mark.parametrize("name", expressions())
def test_no_text_makes_it_slow(name: str) -> None:
    expression = expressions()[name]
    for text in pumped(expression.pattern):
        begin = time.process_time()
        expression.match(text)
        expression.fullmatch(text)
        if searches(name):
            sum(1 for _ in expression.finditer(text))
        assert time.process_time() - begin < SECONDS, text[:40]
