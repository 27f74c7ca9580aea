"""The types of the graph: node specs, values on edges, port types, the registry, and the context that nodes get.

In: typed functions and values. Out: specs as data, and values that can be stored and identified.
"""
