"""Models and memory: loading, patching, placement on a device, eviction, streaming of layers.

In: model handles and budgets. Out: modules that are lent to nodes for the time of a with-block.
"""
