"""The identity of a step whose inputs are known: the fields of its cache key, including the hash of its code."""

from collections.abc import Callable, Mapping
from typing import Any

from latentloom.engine.cache.cache import Item, Result
from latentloom.engine.document.workflow import Edge
from latentloom.engine.errors import NodeError
from latentloom.engine.keys import Base, Fields, literal_digest
from latentloom.engine.planning.step import Step
from latentloom.engine.planning.validate import CHOICE_SOURCES
from latentloom.engine.types.absent import ABSENT
from latentloom.engine.types.literals import kind_of_literal
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import ANY, FILE_KINDS, InputSpec, NodeSpec

Inputs = dict[str, Any]  # per input: an Item, or a list of Items
Mentions = dict[str, Any]  # the files that texts may name, by name


class Identity:
    """Collects the fields of cache keys. The environment is part of the key of numeric nodes only."""

    def __init__(
        self,
        registry: Registry,
        identify: Callable[[str, str], Any],
        environment: Callable[[], Mapping[str, str]],
        salt: str | None,
        economy_of: Callable[[NodeSpec], int],
        mentioned: Callable[[str, str], list[str]],
        deviation: Callable[[], Mapping[str, str]],
    ) -> None:
        """`identify(source, name)` returns a file or model with its sha256; `mentioned(source, text)` the names of the
        files that a text may name; `deviation()` the process settings that differ from their usual values.
        """
        self._registry = registry
        self._identify = identify
        self._mentioned = mentioned
        self._environment = environment
        self._salt = salt
        self._economy_of = economy_of
        self._deviation = deviation
        self._bases: dict[tuple[Any, ...], Base] = {}

    def inputs(self, step: Step, results: Mapping[str, Result], asked: frozenset[str]) -> Inputs:
        """Return the item of each input, in the order of the spec. Lazy inputs that are not in `asked` are left out.

        Raises NodeError if an input comes from an absent output.
        """
        found: Inputs = {}
        for port in step.spec.inputs:
            if port.lazy and port.name not in asked:
                continue
            if port.name in step.edges:
                found[port.name] = _from_edges(port, step.edges[port.name], results)
                check_present(found[port.name], step.id, port.name)
            else:
                found[port.name] = self._literal(port, step.literals[port.name])
        return found

    def _literal(self, port: InputSpec, value: Any) -> Any:
        if port.is_list and type(value) is list:
            return [self._item(port, item) for item in value]
        return self._item(port, value)

    def _item(self, port: InputSpec, value: Any) -> Item:
        if port.kind in FILE_KINDS and value is not None:
            file = self._identify(port.source or "input", value)
            content = f"{file.sha256} {file.beside}" if getattr(file, "beside", "") else file.sha256
            return Item(port.kind, literal_digest(port.kind, content), file)
        return literal_item(port.kind, value)

    def fields(self, step: Step, inputs: Inputs, named: Mentions, more: Mapping[str, Any] | None = None) -> Fields:
        """Return the fields of the step's cache key. `named` are its mentions; `more` are the extra fields of impure
        steps and of calls of `needs`.
        """
        digests = {name: _digests(value) for name, value in inputs.items()}
        economy = self._economy_of(step.spec)
        own: dict[str, Any] = {"economy": economy} if economy else {}
        own |= {"mentions": {name: file.sha256 for name, file in named.items()}} if named else {}
        return Fields(self._base(step, inputs), digests, {**(more or {}), **own} if own else more)

    def mentions(self, step: Step, inputs: Inputs) -> Mentions:
        """Return the files that the step's texts may name, by name. They are part of its cache key."""
        texts = [
            (port.mentions, item.literal)
            for port in step.spec.inputs
            if port.mentions and port.name in inputs
            for item in ([inputs[port.name]] if type(inputs[port.name]) is Item else inputs[port.name])
        ]
        return {
            name: self._identify(source, name)
            for source, text in texts
            if isinstance(text, str)
            for name in self._mentioned(source, text)
        }

    def _base(self, step: Step, inputs: Inputs) -> Base:
        code = self._code(step, inputs)
        deviation = self._deviation() if step.spec.numeric else {}
        name = (step.spec.type, code, *deviation.items())
        found = self._bases.get(name)
        if found is None:
            own = {"process": dict(deviation)} if deviation else {}
            fields = {
                "type": step.spec.type,
                "version": step.spec.version,
                "code": sorted(code),
                "environment": {**self._environment(), **own} if step.spec.numeric else None,
                "salt": self._salt,
            }
            found = self._bases[name] = Base.of(fields)
        return found

    def _code(self, step: Step, inputs: Inputs) -> frozenset[str]:
        """Return the code hashes of the step's distribution and of the extensions that its inputs name."""
        used = {step.type.distribution.code}
        for port in step.spec.inputs:
            if port.source in CHOICE_SOURCES and port.name in inputs:
                items = inputs[port.name]
                for item in [items] if type(items) is Item else items:
                    extension = self._registry.extensions(CHOICE_SOURCES[port.source]).get(item.literal)
                    used |= {extension.distribution.code} if extension else set()
        return frozenset(used)


def literal_item(kind: str, value: Any) -> Item:
    """Return a literal as an item. On a port of kind ANY, the item has the kind of the value."""
    if kind == ANY or value is None:
        kind = kind_of_literal(value)
    return Item(kind, literal_digest(kind, value), value)


def _from_edges(port: InputSpec, value: Any, results: Mapping[str, Result]) -> Any:
    if type(value) is Edge:
        found = output_of(value, results)
        return found if type(found) is Item else list(found)
    return [output_of(item, results) if type(item) is Edge else literal_item(port.kind, item) for item in value]


def output_of(edge: Edge, results: Mapping[str, Result]) -> Item | tuple[Item, ...]:
    """Return what an edge delivers."""
    found = results[edge.node].outputs[edge.output]
    if edge.item is None or isinstance(found, Item):
        return found
    item: Item = found[edge.item]
    return item


def check_present(found: Any, node: str, input: str | None = None) -> None:
    """Raise NodeError if an output's Item, or one of its items, is absent."""
    for item in [found] if type(found) is Item else found:
        if item.kind == ABSENT:
            raise NodeError(item.literal["message"], node=node, input=input, hint=item.literal["hint"])


def _digests(value: Any) -> Any:
    return value.digest if type(value) is Item else [item.digest for item in value]
