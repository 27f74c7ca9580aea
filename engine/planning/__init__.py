"""What a workflow means before it runs: its graph, its validation, and the cache key of each step.

In: a workflow and the registry. Out: checked steps in order, problems, and the fields of every key.
"""
