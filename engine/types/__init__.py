"""The types of the graph: node specs, values on edges, port types, the registry, and the context of a node.

Input: typed functions and values. Output: specs as data, and values that can be stored and hashed.
"""
