"""Absent: what a node returns in place of an output that it cannot produce."""

from dataclasses import dataclass

ABSENT = "ABSENT"
"""The kind of an absent output in results."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for a missing output, such as the VAE of a checkpoint that contains none.

    A run that reads the output fails with this message as soon as the node has finished. Other runs are not affected.
    """

    message: str
    hint: str | None = None
