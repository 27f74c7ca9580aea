"""Runs a workflow: executes its steps in order, looks up and stores results, and emits events.

Input: a validated workflow and options. Output: an Outcome, and events during the run.
"""
