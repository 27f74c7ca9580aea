"""Calls to a node type's other functions: `needs` (the wanted lazy inputs) and `fingerprint` (external state)."""

import copy
from collections.abc import Mapping
from typing import Any

from latentloom.engine.cache.cache import Cache, Item
from latentloom.engine.errors import NodeError
from latentloom.engine.execution.call import faults
from latentloom.engine.execution.isolation import Lending
from latentloom.engine.keys import digest
from latentloom.engine.planning.step import Step
from latentloom.engine.types.registry import Registry


def answered(cache: Cache, key: str) -> frozenset[str] | None:
    """Return the cached answer to `needs`, or None if there is none."""
    known = cache.result(key)
    names = known.outputs["names"] if known is not None else None
    return frozenset(names.literal) if type(names) is Item else None


def wanted_inputs(step: Step, values: Mapping[str, Any], registry: Registry) -> frozenset[str]:
    """Return the lazy inputs that a step wants, given the values of its eager inputs. Raises NodeError."""
    lazy = {port.name for port in step.spec.inputs if port.lazy}
    with faults(step, "'s needs"):
        ask = step.type.definition().needs
        assert ask is not None
        eager = {name: value for name, value in values.items() if name not in lazy}
        wanted = frozenset(ask(**Lending(registry).lend(step.spec, eager)))
    if not wanted <= lazy:
        got = ", ".join(sorted(wanted - lazy))
        raise NodeError("its `needs` named inputs that are not lazy", node=step.id, got=got)
    return wanted


def beyond(step: Step, inputs: Mapping[str, Item | list[Item]], run: str) -> Mapping[str, Any] | None:
    """Return what the cache key of an impure step contains besides its inputs. Raises NodeError."""
    if step.spec.purity in ("nondeterministic", "sink"):
        return {"run": [run, step.id]}
    return {"world": _fingerprint(step, inputs)} if step.spec.purity == "external" else None


def _fingerprint(step: Step, inputs: Mapping[str, Item | list[Item]]) -> str:
    with faults(step, "'s fingerprint"):
        ask = step.type.definition().fingerprint
        assert ask is not None
        return digest(ask(**{name: _literal(value) for name, value in inputs.items()}))


def _literal(value: Item | list[Item]) -> Any:
    """Return a copy of the literal, because the node's code may modify it."""
    return copy.deepcopy([item.literal for item in value] if isinstance(value, list) else value.literal)
