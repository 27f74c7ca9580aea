"""The two hooks that a plugin may implement."""

import pluggy

from latentloom.engine.events import Event
from latentloom.engine.types.registry import Registration

GROUP = "latentloom"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """Hook specifications."""

    @hookspec
    def register(self, registry: Registration) -> None:
        """Hand node types, port types and extensions to the registry. Called once, when the plugin is first loaded."""

    @hookspec
    def on_event(self, event: Event) -> None:
        """Hear of everything that runs report. An exception is reported and changes nothing."""
