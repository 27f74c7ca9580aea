"""The result cache: a memory tier over a disk tier.

Input: cache keys and results. Output: the same results, or a miss. A damaged or missing entry is a miss, never a
wrong value.
"""
