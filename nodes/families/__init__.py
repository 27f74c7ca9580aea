"""Families of networks: one folder for each, with file recognition, key names, configuration and loading.

In: weight files and folders. Out: handles with what is known of a file, and loaded modules.
"""
