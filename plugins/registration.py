"""Imports one plugin and calls its `register` hook."""

import traceback
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pluggy

from latentloom.engine.errors import LoomError
from latentloom.engine.execution.process_state import ProcessState
from latentloom.engine.types.registry import Distribution, Registration
from latentloom.plugins.hooks import GROUP, Hooks


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plugin cannot be used."""

    error: str
    missing: str | None = None  # a module that it could not import
    trace: str | None = None  # the traceback, or the last that it printed
    lasting: bool = True  # whether the plugin's code is the reason


def failure_of(error: BaseException) -> Failure:
    """Return what an exception of a plugin's code says."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    text = str(error) if isinstance(error, LoomError) else f"{type(error).__name__}: {error}"
    trace = None if isinstance(error, LoomError) else "".join(traceback.format_exception(error))
    return Failure(text, missing, trace)


def registered(point: EntryPoint, distribution: Distribution) -> Registration:
    """Import a plugin and call only its `register` hook. Changed process settings are restored and noted.

    Raises whatever the plugin's code raises.
    """
    state = ProcessState()
    with state.run():
        registration = _hooked(point, distribution)
        changed = state.put_back(imported=True)
    if changed:
        registration.note = f"its import changed {', '.join(changed)}; it was restored"
    return registration


def _hooked(point: EntryPoint, distribution: Distribution) -> Registration:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    module = point.load()
    manager.register(module, name=point.name)
    manager.check_pending()
    registration = Registration(distribution)
    manager.hook.register(registry=registration)
    registration.listens = bool(manager.hook.on_event.get_hookimpls())
    return registration
