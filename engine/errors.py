"""Every error of the engine: a code, a place, what was expected, what came, and what to do."""

import difflib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

MAX_TEXT = 2_000  # characters of one text of a problem
MAX_PROBLEMS = 200  # that are told at once
MAX_SUGGESTIONS = 20  # among them; looking for the nearest name is slow
MAX_ALIKE, MAX_CANDIDATES, MAX_COMPARED = 100, 1_000, 20  # characters, names, and names that are compared in full


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault, at one place, as data that a command line, an editor or an HTTP client can show."""

    code: str
    message: str
    node: str | None = None
    input: str | None = None
    expected: str | None = None
    got: str | None = None
    nearest: str | None = None
    hint: str | None = None

    def __post_init__(self) -> None:
        """Cut texts that are longer than anybody reads: they may be names from a hostile document."""
        for field in fields(self):
            text = getattr(self, field.name)
            if text is not None and len(text) > MAX_TEXT:
                object.__setattr__(self, field.name, f"{text[:MAX_TEXT]}... ({len(text)} characters)")

    def __str__(self) -> str:
        place = ", ".join(
            f"{word} '{name}'" for word, name in (("node", self.node), ("input", self.input)) if name is not None
        )
        text = f"{place}: {self.message}" if place else self.message
        facts = [f"{word} {fact}" for word, fact in (("expected", self.expected), ("got", self.got)) if fact]
        text = f"{text} ({', '.join(facts)})" if facts else text
        text = f"{text}. Did you mean '{self.nearest}'?" if self.nearest else text
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def record(self) -> dict[str, str]:
        """This problem as JSON, without its empty fields."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Problems:
    """Collects the problems of a document: the first ones, and how many more there are."""

    def __init__(self) -> None:
        self._first: list[Problem] = []
        self._count = 0
        self._suggestions = 0

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, problem: Problem) -> None:
        """Keep a problem, or count it."""
        self._count += 1
        if len(self._first) < MAX_PROBLEMS:
            self._first.append(problem)

    @property
    def suggesting(self) -> bool:
        """Whether names are still compared."""
        return self._suggestions < MAX_SUGGESTIONS

    def nearest(self, name: str, names: Iterable[str]) -> str | None:
        """The most alike name, for the first problems only."""
        found = nearest(name, names) if self.suggesting else None
        self.compared()
        return found

    def compared(self) -> None:
        """Names were compared for one of the problems."""
        self._suggestions += 1

    def told(self) -> list[Problem]:
        """The problems as they are told."""
        return listed(self._first, self._count)


def listed(problems: Sequence[Problem], count: int, most: int = MAX_PROBLEMS) -> list[Problem]:
    """At most so many problems; the last one says how many of `count` are left out."""
    if count <= most:
        return list(problems)
    left = count - most + 1
    return [*problems[: most - 1], Problem(code="more_problems", message=f"{left} more problems are not listed")]


class LoomError(Exception):
    """Root of every error that the engine raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **place: str | None) -> None:
        super().__init__(message)
        self.problem = Problem(code=self.code, message=message, **place)

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong, at least one problem."""
        return (self.problem,)


class WorkflowError(LoomError):
    """A workflow that cannot be read or does not validate; `problems` holds every fault at once."""

    code = "invalid_workflow"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._problems = tuple(listed(problems, len(problems)))
        count = len(self._problems)
        many = f"more than {count - 1}" if count and self._problems[-1].code == "more_problems" else str(count)
        super().__init__(f"{many} problem{'s' * (many != '1')} in the workflow")

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self._problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every fault, in the order of the document."""
        return self._problems


class NodeError(LoomError):
    """A node raised while it ran; the cause is chained."""

    code = "node_failed"


class MutationError(NodeError):
    """A node changed a value that it was given."""

    code = "input_mutated"


class Cancelled(LoomError):
    """The run was cancelled; what had finished stays in the cache."""

    code = "cancelled"


class SpecError(LoomError):
    """A node function that its author must mend: the engine cannot express its signature."""

    code = "bad_node_definition"


class PluginError(LoomError):
    """A plugin that cannot be loaded or that breaks a rule of the registry."""

    code = "plugin_failed"


class DuplicateError(PluginError):
    """Two distributions claim one name."""

    code = "duplicate_name"


class UnknownError(LoomError):
    """A name that nothing is registered under."""

    code = "unknown_name"


class PathError(LoomError):
    """A file name that leaves its folder or cannot be a file name."""

    code = "path_refused"


class MissingFileError(LoomError):
    """A file or model that no configured folder has."""

    code = "missing_file"


class FileError(LoomError):
    """A file that is there and cannot be used: truncated, of another kind, too large."""

    code = "bad_file"


class ChangedFileError(NodeError):
    """A file was written over or replaced while a run read it, so that nothing made from it may be kept."""

    code = "changed_file"


class ChangedCodeError(NodeError):
    """Code was edited on disk between the moment when it was identified and the one when it was imported."""

    code = "changed_code"


class OutOfMemoryError(NodeError):
    """A device has less memory than a node needs, whatever is dropped and fetched again."""

    code = "out_of_memory"


class BudgetError(OutOfMemoryError):
    """The smallest placement of a model is larger than what models may take."""

    code = "budget_too_small"


class SettingsError(LoomError):
    """A setting with a value that it cannot have."""

    code = "bad_setting"


class BadValueError(LoomError):
    """A value with another shape or range than its port type allows."""

    code = "bad_value"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The most alike of names, for "did you mean", or None when nothing is alike.

    Of many names those of a similar length count, and of these the ones that share most letters are compared.
    """
    if len(name) > MAX_ALIKE:
        return None
    near = heapq.nsmallest(MAX_CANDIDATES, set(names), key=lambda other: (abs(len(other) - len(name)), other))
    by_lower = {other.lower(): other for other in near if len(other) <= 2 * MAX_ALIKE}
    matcher = difflib.SequenceMatcher(b=name.lower())

    def shared(other: str) -> float:
        matcher.set_seq1(other)
        return matcher.quick_ratio()

    likely = heapq.nlargest(MAX_COMPARED, by_lower, key=shared)
    found = difflib.get_close_matches(name.lower(), likely, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def brief(value: Any, limit: int = 60) -> str:
    """A value as JSON-like text of at most limit characters, for the `got` of a message."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__} of {len(value)}"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def shown(name: Any) -> str:
    """A name from a document, short and without line breaks."""
    return brief(str(name))[1:-1]
