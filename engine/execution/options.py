"""Options of a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a run: its id, the workflow's name, and whether to use the cache and make previews.

    A `resumable` run can be continued later under the same id, so it also stores the results of its sinks.
    """

    run: str
    name: str = ""
    use_cache: bool = True
    previews: bool = False
    resumable: bool = False
