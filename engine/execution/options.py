"""How to run a workflow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Under which id and workflow name, with the cache or without, with previews or without.

    A run that may be taken up again under its id (`resumable`) remembers the results of its sinks.
    """

    run: str
    name: str = ""
    use_cache: bool = True
    previews: bool = False
    resumable: bool = False
