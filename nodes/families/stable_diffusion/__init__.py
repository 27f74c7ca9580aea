"""Stable Diffusion 1.x, 2.x and XL: single files and diffusers folders, their configurations and key names."""
