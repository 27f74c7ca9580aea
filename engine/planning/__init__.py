"""Planning of a workflow before it runs: its graph, its validation, and the cache key of each step.

Input: a workflow and the registry. Output: validated steps in order, problems, and the fields of each cache key.
"""
