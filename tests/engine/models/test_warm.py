"""What an idle worker imports ahead."""

import sys

from latentloom.engine.models.warm_up import warm_up
from latentloom.engine.types.registry import Distribution, Registration, Registry


class Kind:
    """A model kind that names modules, one of which is not there."""

    text_modules = ("no_such_module", "colorsys")
    model_modules = ("sndhdr_of_nobody", "wave")


def registry(**kinds) -> Registry:
    registration = Registration(Distribution("kinds", "1", "kinds", "code", builtin=False))
    for name, target in kinds.items():
        registration.model_kind(name, target)
    registration.sampler("s", "statistics:mean")
    made = Registry()
    made.add(registration)
    return made


def test_a_worker_without_a_device_imports_what_reads_prompts(monkeypatch):
    for name in ("colorsys", "wave"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    assert list(warm_up(registry(kind=Kind), models=False)) == ["no_such_module", "colorsys"]
    assert ("colorsys" in sys.modules, "wave" in sys.modules) == (True, False)


def test_a_worker_with_a_device_imports_the_rest_too(monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)

    found = list(warm_up(registry(kind=Kind, broken="no_such_module:Kind"), models=True))

    assert found == ["statistics", "no_such_module", "colorsys", "sndhdr_of_nobody", "wave"]
    assert "wave" in sys.modules
