"""The command line program `loom`."""
