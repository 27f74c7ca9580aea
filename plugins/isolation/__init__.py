"""Runs code of plugins and packs in processes of their own.

Input: a program, messages with arrays, limits. Output: answers, or an error that says how the process ended. The
process starts when it is needed, and again after it ended.
"""
