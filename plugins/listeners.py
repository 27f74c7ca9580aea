"""Passes the events of runs to the `on_event` hooks of plugins."""

import importlib
from collections.abc import Sequence
from typing import Any

import pluggy

from latentloom.engine.events import Event
from latentloom.engine.execution.process_state import ProcessState
from latentloom.plugins.hooks import GROUP, Hooks


class Listeners:
    """The on_event hooks of plugins, imported at the first event. Their errors are collected, not raised."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._manager: pluggy.PluginManager | None = None
        self.faults: list[str] = []

    def __call__(self, event: Event) -> None:
        """Pass an event to all plugins."""
        if not self._modules:
            return
        for implementation in self._hooks():
            state = ProcessState()
            with state.run():
                try:
                    implementation.function(event=event)
                except Exception as error:
                    self.faults.append(f"{implementation.plugin_name}: {type(error).__name__}: {error}")
                for what in state.put_back():
                    self.faults.append(f"{implementation.plugin_name}: changed {what}; it was restored")

    def _hooks(self) -> list[Any]:
        if self._manager is None:
            self._manager = pluggy.PluginManager(GROUP)
            self._manager.add_hookspecs(Hooks)
            for name in self._modules:
                try:
                    self._manager.register(importlib.import_module(name), name=name)
                except Exception as error:
                    self.faults.append(f"{name}: {type(error).__name__}: {error}")
        return self._manager.hook.on_event.get_hookimpls()
