"""Upscaling networks, which work on pixels."""
