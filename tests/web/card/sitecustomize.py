"""Gives each Python process that has this folder on its path an accelerator that computes nothing."""

from latentloom.engine.models import environment

environment.accelerators = lambda torch_version: ["cuda:0"]
