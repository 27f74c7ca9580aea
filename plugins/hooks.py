"""The two hooks that a plugin may implement."""

import pluggy

from latentloom.engine.events import Event
from latentloom.engine.types.registry import Registration

GROUP = "latentloom"
ISOLATED_GROUP = "latentloom.isolated"
"""The group of entry points of plugins that run in processes of their own."""
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """Hook specifications."""

    @hookspec
    def register(self, registry: Registration) -> None:
        """Register node types, port types and extensions. Called once, when the plugin is first loaded."""

    @hookspec
    def on_event(self, event: Event) -> None:
        """Receive all events of runs, in a thread beside the run. An exception is reported and affects nothing."""
