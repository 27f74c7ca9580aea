"""Pixel work without a model: resizing, blending, labels, plots and tables.

In: arrays in 0..1. Out: arrays in 0..1.
"""
