"""Families of networks: the recognition of files, key names, configuration and loading of each family.

Input: weight files and folders. Output: handles with the facts of a file, and loaded modules.
"""
