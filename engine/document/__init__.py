"""The workflow document: strict reading, the form in memory, resolving, and canonical writing.

In: JSON bytes or objects. Out: a Workflow, or every problem of its form at once.
"""
