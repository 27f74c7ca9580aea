"""What a node returns in place of an output that it cannot give this time."""

from dataclasses import dataclass

ABSENT = "ABSENT"
"""The kind of such an output among results."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for an output that is not there, such as the VAE of a checkpoint without one.

    A run that reads the output fails with this message as soon as the node is through; other runs do not.
    """

    message: str
    hint: str | None = None
