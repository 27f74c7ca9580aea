"""The workflow document: strict reading, the in-memory form, resolving, and canonical writing.

Input: JSON bytes or objects. Output: a Workflow, or all problems of the document's structure at once.
"""
