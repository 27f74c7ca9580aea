"""Files that workflows read and write: catalog, hashes, picture formats, atomic saving, locks.

In: names and bytes. Out: identified files, and saved files that are never half there.
"""
