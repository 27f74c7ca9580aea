"""Models and memory: loading, patching, placement on a device, eviction, streaming of layers.

Input: model handles and budgets. Output: modules that nodes borrow for the duration of a with-block.
"""
