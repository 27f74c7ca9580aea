"""Textual inversion (Gal et al. 2022): files with a few learned vectors that replace a name in prompts."""
