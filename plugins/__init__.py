"""The plugin interface: mark functions with `hookimpl` and name their module in an entry point (docs/plugins.md)."""

from latentloom.engine.types.registry import Registration
from latentloom.plugins.hooks import hookimpl

__all__ = ["Registration", "hookimpl"]
