"""The command `loom`."""
