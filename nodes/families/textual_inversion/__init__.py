"""Textual inversion (Gal et al. 2022): files of a few learnt vectors that stand for a name in prompts."""
