"""The result cache: a memory tier over a disk tier.

In: keys and results. Out: the same results, or a miss. A damaged or missing entry is a miss, never a wrong value.
"""
