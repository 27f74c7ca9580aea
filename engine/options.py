"""How to run a workflow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Under which id and workflow name, with the cache or without, with previews or without."""

    run: str
    name: str = ""
    use_cache: bool = True
    previews: bool = False
