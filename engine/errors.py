"""The errors of the engine. Each has a code, a place, the expected and the actual value, and a hint."""

import difflib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

MAX_TEXT = 2_000  # characters in one field of a problem
MAX_PROBLEMS = 200  # maximum number of reported problems
MAX_SUGGESTIONS = 20  # problems with a nearest name, because the search is slow
MAX_ALIKE, MAX_CANDIDATES, MAX_COMPARED = 100, 1_000, 20  # characters, names, names compared in full


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem at one place, as data for a command line, an editor or an HTTP client."""

    code: str
    message: str
    node: str | None = None
    input: str | None = None
    expected: str | None = None
    got: str | None = None
    nearest: str | None = None
    hint: str | None = None

    def __post_init__(self) -> None:
        """Truncate long fields: they may contain names from a hostile document."""
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
        """Return this problem as JSON, without empty fields."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Problems:
    """Collects the first problems of a document and counts the others."""

    def __init__(self) -> None:
        self._first: list[Problem] = []
        self._count = 0
        self._suggestions = 0

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, problem: Problem) -> None:
        """Store a problem, or only count it."""
        self._count += 1
        if len(self._first) < MAX_PROBLEMS:
            self._first.append(problem)

    @property
    def suggesting(self) -> bool:
        """Whether nearest names are still searched for."""
        return self._suggestions < MAX_SUGGESTIONS

    def nearest(self, name: str, names: Iterable[str]) -> str | None:
        """Return the nearest name, for the first problems only."""
        found = nearest(name, names) if self.suggesting else None
        self.compared()
        return found

    def compared(self) -> None:
        """Count a search for the nearest name."""
        self._suggestions += 1

    def told(self) -> list[Problem]:
        """Return the problems to report."""
        return listed(self._first, self._count)


def listed(problems: Sequence[Problem], count: int, most: int = MAX_PROBLEMS) -> list[Problem]:
    """Return at most `most` problems. The last one says how many of `count` are not listed."""
    if count <= most:
        return list(problems)
    left = count - most + 1
    return [*problems[: most - 1], Problem(code="more_problems", message=f"{left} more problems are not listed")]


class LoomError(Exception):
    """Base class of all errors of the engine."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **place: str | None) -> None:
        super().__init__(message)
        self.problem = Problem(code=self.code, message=message, **place)

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, at least one."""
        return (self.problem,)


class WorkflowError(LoomError):
    """A workflow cannot be read or is not valid. `problems` contains all of its problems."""

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
        """All problems, in the order of the document."""
        return self._problems


class NodeError(LoomError):
    """A node failed. The original exception is chained."""

    code = "node_failed"


class MutationError(NodeError):
    """A node modified an input value."""

    code = "input_mutated"


class Cancelled(LoomError):
    """The run was cancelled. The results of finished nodes stay in the cache."""

    code = "cancelled"


class SpecError(LoomError):
    """The signature of a node function cannot be expressed as a NodeSpec."""

    code = "bad_node_definition"


class PluginError(LoomError):
    """A plugin cannot be loaded or breaks a rule of the registry."""

    code = "plugin_failed"


class DuplicateError(PluginError):
    """Two distributions register the same name."""

    code = "duplicate_name"


class UnknownError(LoomError):
    """Nothing is registered under this name."""

    code = "unknown_name"


class PathError(LoomError):
    """A file name is invalid or leaves its folder."""

    code = "path_refused"


class MissingFileError(LoomError):
    """A file or model is in none of the configured folders."""

    code = "missing_file"


class FileError(LoomError):
    """An existing file cannot be used: it is truncated, of another kind or too large."""

    code = "bad_file"


class ChangedFileError(NodeError):
    """A file was overwritten or replaced while a run read it, so results that depend on it are discarded."""

    code = "changed_file"


class ChangedCodeError(NodeError):
    """Code was edited on disk after it was hashed and before it was imported."""

    code = "changed_code"


class OutOfMemoryError(NodeError):
    """A node needs more memory than a device has, even after eviction and with streaming."""

    code = "out_of_memory"


class BudgetError(OutOfMemoryError):
    """The smallest placement of a model exceeds the budget."""

    code = "budget_too_small"


class SettingsError(LoomError):
    """A setting has an invalid value."""

    code = "bad_setting"


class BadValueError(LoomError):
    """A value has a shape or range that its port type does not allow."""

    code = "bad_value"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar name, for "did you mean", or None.

    Only the names with the most similar lengths, and of these the ones that share the most letters, are compared.
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
    """Return a value as text of at most `limit` characters, for the `got` of a message."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__} of {len(value)}"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def shown(name: Any) -> str:
    """Return a name from a document, shortened and without line breaks."""
    return brief(str(name))[1:-1]
