"""Running a workflow: steps are executed in order, results are looked up and stored, events are emitted.

In: a validated workflow with options. Out: an Outcome, and events while it runs.
"""
