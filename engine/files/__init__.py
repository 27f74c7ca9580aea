"""Files that workflows read and write: catalog, hashes, picture formats, atomic saving, locks.

Input: names and bytes. Output: identified files, and files that are saved atomically.
"""
