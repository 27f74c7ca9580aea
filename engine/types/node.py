"""`@node` makes a node type from a typed function: its signature is the port list, its docstring the help."""

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import annotated_types as bounds
from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from latentloom.engine.errors import SpecError
from latentloom.engine.files.model_files import InputFile, ModelFile
from latentloom.engine.types.absent import Absent
from latentloom.engine.types.context import Context
from latentloom.engine.types.literals import LiteralError, coerce
from latentloom.engine.types.spec import ANY, MAX_SEED, PURITIES, InputSpec, NodeSpec, OutputSpec, Purity

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input's choices or files come from: "samplers", "schedules", "input", "models/checkpoints", ..."""

    name: str


@dataclass(frozen=True, slots=True)
class Mentions:
    """A source whose files a text may name, such as "models/embeddings". `Context.mentioned` holds the named files."""

    source: str


@dataclass(frozen=True, slots=True)
class Widget:
    """How an editor should show an input: "multiline", "seed", "slider", "colour", "mask", ..."""

    name: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """An input that few people change: an editor hides it in a fold while it has its default."""


class _Lazy:
    pass


Lazy = Annotated[T | None, _Lazy()]
"""An input that is computed only if the node's `needs` names it, otherwise None."""

Seed = Annotated[
    int,
    Field(ge=0, le=MAX_SEED, description='Seed of the random numbers; "random" picks a new seed for each run.'),
    Widget("seed"),
]
"""A seed, 0..2^64-1. "random" in a document is replaced by a random seed when the workflow is resolved."""

Text = Annotated[str, Widget("multiline")]
"""Text of several lines."""

MAX_DISPLAY_NAME = 60
MAX_DEPRECATED = 200  # characters

_PLAIN = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING", InputFile: "FILE", ModelFile: "MODEL_FILE"}


@dataclass(frozen=True, slots=True)
class Definition:
    """A node type with its code. `needs`, `fingerprint` and `migrate` are optional."""

    spec: NodeSpec
    function: Callable[..., Any]
    needs: Callable[..., Any] | None = None
    fingerprint: Callable[..., Any] | None = None
    migrate: Callable[[dict[str, Any], int], dict[str, Any]] | None = None


def node(
    type: str,
    *,
    version: int = 1,
    category: str = "",
    display_name: str = "",
    aliases: tuple[str, ...] = (),
    deprecated: str = "",
    purity: Purity = "pure",
    device: bool = False,
    economies: int = 0,
    needs: Callable[..., Any] | None = None,
    fingerprint: Callable[..., Any] | None = None,
    migrate: Callable[[dict[str, Any], int], dict[str, Any]] | None = None,
) -> Callable[[F], F]:
    """Attach a NodeSpec to a function. A plugin's `register` hook must still register the function.

    An editor shows display_name instead of the type, and finds the node by its aliases too. `deprecated`
    says what to use instead; a run that uses the node warns. needs(**eager inputs)
    returns the names of the lazy inputs that are wanted. fingerprint(**inputs) identifies the external state that an
    external node reads. migrate(inputs, from_version) updates inputs of an older version. After an out-of-memory error
    a node runs again with a higher `ctx.economy`, up to `economies`.
    Raises SpecError for a signature that a NodeSpec cannot express.
    """

    def attach(function: F) -> F:
        names = _names(function, display_name, aliases, deprecated)
        spec = replace(
            _spec(function, type, version, category, purity, device, economies, migrate is not None), **names
        )
        _check_code(spec, needs, fingerprint)
        function.__loom_node__ = Definition(spec, function, needs, fingerprint, migrate)  # type: ignore[attr-defined]
        return function

    return attach


def definition(function: Any) -> Definition:
    """Return the definition that `@node` attached. Raises SpecError if there is none."""
    found = getattr(function, "__loom_node__", None)
    if not isinstance(found, Definition):
        raise SpecError(f"{function!r} is not a node", hint="decorate it with @node")
    return found


def _spec(
    function: Callable[..., Any],
    type: str,
    version: int,
    category: str,
    purity: Purity,
    device: bool,
    economies: int,
    migrates: bool,
) -> NodeSpec:
    where = f"{function.__module__}:{function.__qualname__}"
    if not type or not all(c.isalnum() or c in "_-" for c in type):
        raise SpecError(f"{where}: a node type is letters, digits, '_' and '-'", got=type)
    if purity not in PURITIES:
        raise SpecError(f"{where}: unknown purity", expected=", ".join(PURITIES), got=str(purity))
    if economies < 0 or (economies and (purity != "pure" or not device)):
        raise SpecError(f"{where}: economies are for pure nodes that need the device", got=str(economies))
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    contexts = [name for name in parameters if hints.get(name) is Context]
    inputs = tuple(_input(where, p, hints) for p in parameters.values() if p.name not in contexts)
    outputs, several = _outputs(where, hints.get("return", inspect.Parameter.empty))
    help = inspect.getdoc(function)
    if not help:
        raise SpecError(f"{where}: a node needs a docstring: it is the help that users read")
    return NodeSpec(
        type=type,
        version=version,
        function=where,
        category=category,
        help=help,
        inputs=inputs,
        outputs=outputs,
        purity=purity,
        device=device,
        economies=economies,
        asynchronous=inspect.iscoroutinefunction(function),
        context=contexts[0] if contexts else None,
        several=several,
        migrates=migrates,
    )


def _names(
    function: Callable[..., Any], display_name: str, aliases: tuple[str, ...], deprecated: str
) -> dict[str, Any]:
    where = f"{function.__module__}:{function.__qualname__}"
    if isinstance(aliases, str) or not all(isinstance(word, str) and word.strip() for word in aliases):
        raise SpecError(f"{where}: aliases are a tuple of texts", got=repr(aliases))
    if len(display_name) > MAX_DISPLAY_NAME or not display_name.isprintable():
        raise SpecError(f"{where}: a display name is one line of at most {MAX_DISPLAY_NAME} characters")
    if not isinstance(deprecated, str) or len(deprecated) > MAX_DEPRECATED or not deprecated.isprintable():
        expected = f"one line of at most {MAX_DEPRECATED} characters"
        raise SpecError(
            f"{where}: `deprecated` says what to use instead", expected=expected, got=repr(deprecated)[:100]
        )
    return {"display_name": display_name, "aliases": tuple(aliases), "deprecated": deprecated}


def _check_code(spec: NodeSpec, needs: Any, fingerprint: Any) -> None:
    if (spec.purity == "external") != (fingerprint is not None):
        raise SpecError(f"{spec.function}: an external node, and only one, has a fingerprint")
    if any(port.lazy for port in spec.inputs) != (needs is not None):
        raise SpecError(f"{spec.function}: a node with lazy inputs, and only one, has needs=")


def _input(where: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> InputSpec:
    place = f"{where}, parameter '{parameter.name}'"
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise SpecError(f"{place}: *args and **kwargs are not ports")
    if parameter.name not in hints:
        raise SpecError(f"{place}: has no type")
    fields = {"name": parameter.name, **_annotation(place, hints[parameter.name])}
    if parameter.default is not parameter.empty:
        fields |= {"required": False, "default": parameter.default}
    port = InputSpec(**fields)
    return _with_default(place, port) if not port.required else port


def _with_default(place: str, port: InputSpec) -> InputSpec:
    if not port.literal and port.default is not None:
        raise SpecError(f"{place}: the default of a {port.kind} can only be None")
    if port.default is None and not port.optional:
        raise SpecError(f"{place}: has the default None but its type does not allow it", hint="write `T | None`")
    if port.default is None or port.source or port.is_list:
        return port
    try:
        return replace(port, default=coerce(port, port.default))
    except LiteralError as error:
        raise SpecError(f"{place}: the default is not allowed: {error}") from error


def _annotation(place: str, annotation: Any) -> dict[str, Any]:
    """Return the InputSpec fields that an annotation defines."""
    if get_origin(annotation) is Annotated:
        base, *marks = get_args(annotation)
        fields = _annotation(place, base)
        for mark in marks:
            fields |= _mark(place, mark, fields)
        return fields
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [arm for arm in get_args(annotation) if arm is not type(None)]
        if len(rest) != 1 or len(rest) == len(get_args(annotation)):
            raise SpecError(f"{place}: a port has one type", got=str(annotation))
        return {**_annotation(place, rest[0]), "optional": True}
    if get_origin(annotation) is list:
        inner = _annotation(place, get_args(annotation)[0])
        if inner.get("is_list"):
            raise SpecError(f"{place}: lists of lists are not ports")
        return {**inner, "is_list": True}
    if get_origin(annotation) is Literal:
        if not all(isinstance(choice, str) for choice in get_args(annotation)):
            raise SpecError(f"{place}: choices are texts", got=str(annotation))
        return {"kind": "CHOICE", "choices": get_args(annotation)}
    return {"kind": _kind(place, annotation)}


def _kind(place: str, annotation: Any) -> str:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation is Any:
        return ANY
    if annotation is dict or get_origin(annotation) is dict:
        return "JSON"
    kind = getattr(annotation, "kind", None)
    if isinstance(kind, str):
        return kind
    raise SpecError(f"{place}: not a port type", got=str(annotation), hint="port classes have a `kind: ClassVar[str]`")


def _mark(place: str, mark: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(mark, Source):
        files = fields["kind"] in ("FILE", "MODEL_FILE")
        return {"source": mark.name, **({} if files else {"kind": "CHOICE"})}
    if isinstance(mark, Mentions) and fields["kind"] == "STRING":
        return {"mentions": mark.source}
    if isinstance(mark, Widget):
        return {"widget": mark.name}
    if mark is Advanced or isinstance(mark, Advanced):
        return {"advanced": True}
    if isinstance(mark, _Lazy):
        return {"lazy": True, "required": True}
    if isinstance(mark, FieldInfo):
        return _field(place, mark, fields)
    raise SpecError(f"{place}: an annotation that a NodeSpec cannot express", got=repr(mark))


def _field(place: str, info: FieldInfo, fields: Mapping[str, Any]) -> dict[str, Any]:
    if info.default is not PydanticUndefined or info.default_factory or info.alias:
        raise SpecError(f"{place}: write the default in the signature; aliases are not supported")
    found: dict[str, Any] = {"help": info.description} if info.description else {}
    for mark in info.metadata:
        found |= _bound(place, mark, fields["kind"])
    return found


def _bound(place: str, mark: Any, kind: str) -> dict[str, Any]:
    whole = kind == "INT"
    if isinstance(mark, bounds.Ge):
        return {"minimum": mark.ge}
    if isinstance(mark, bounds.Le):
        return {"maximum": mark.le}
    if isinstance(mark, bounds.Gt) and whole:
        return {"minimum": int(mark.gt) + 1}  # type: ignore[call-overload]
    if isinstance(mark, bounds.Lt) and whole:
        return {"maximum": int(mark.lt) - 1}  # type: ignore[call-overload]
    if isinstance(mark, bounds.MultipleOf) and (not whole or isinstance(mark.multiple_of, int)):
        return {"multiple_of": mark.multiple_of}
    if isinstance(mark, bounds.MinLen):
        return {"min_length": mark.min_length}
    if isinstance(mark, bounds.MaxLen):
        return {"max_length": mark.max_length}
    raise SpecError(f"{place}: a constraint that a NodeSpec cannot express", got=repr(mark))


def _outputs(where: str, annotation: Any) -> tuple[tuple[OutputSpec, ...], bool]:
    if annotation is inspect.Parameter.empty:
        raise SpecError(f"{where}: has no return type", hint="write `-> None` for a node without outputs")
    if annotation is None or annotation is type(None):
        return (), False
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        hints = get_type_hints(annotation, include_extras=True)
        return tuple(_output(where, name, hints[name]) for name in annotation._fields), True
    return (_output(where, None, annotation),), False


def _output(where: str, name: str | None, annotation: Any) -> OutputSpec:
    if get_origin(annotation) in (Union, types.UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not Absent]
        annotation = arms[0] if len(arms) == 1 else annotation
    fields = _annotation(f"{where}, output", annotation)
    kind, many = fields["kind"], fields.get("is_list", False)
    plain = "value" if kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "JSON", ANY) else kind.lower()
    return OutputSpec(name=name or plain + "s" * many, kind=kind, is_list=many)
