"""Packed weights in files: how a file says that its weights are packed, and what decodes each format.

In: names, types and notes of a file's header; bytes and scales. Out: `Packed` weights for the engine, or one sentence
that names a format which is not read.
"""
