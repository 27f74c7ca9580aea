"""Pixel work without a model: resizing, blending, labels, plots and tables.

Input and output: arrays in 0..1.
"""
