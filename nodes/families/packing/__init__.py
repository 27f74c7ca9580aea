"""Packed weights in files: the detection of packing formats, and a decoder for each format.

Input: names, types and notes of a file's header; bytes and scales. Output: `Packed` weights for the engine, or an error
that names the unsupported format.
"""
