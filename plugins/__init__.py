"""The plugin interface: mark functions with `hookimpl` and name their module in an entry point (docs/plugins.md)."""

from latentloom.plugins.hooks import hookimpl

__all__ = ["hookimpl"]
