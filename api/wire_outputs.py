"""The HTTP data models of requests about several saved files."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from latentloom.api.wire import Answer, Body, OutputFile

MOST_FILES = 500
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Tag = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class OutputSet(Body):
    """Several saved files."""

    example: ClassVar[Mapping[str, Any]] = {"sha256": [_SHA256]}

    sha256: list[Sha256] = Field(min_length=1, max_length=MOST_FILES)


class OutputTags(OutputSet):
    """Tags to add to several saved files, and tags to take off."""

    example: ClassVar[Mapping[str, Any]] = {"sha256": [_SHA256], "add": ["best"]}

    add: list[Tag] = Field(default_factory=list, max_length=20)
    remove: list[Tag] = Field(default_factory=list, max_length=20)


class OutputList(Answer):
    """Saved files."""

    outputs: list[OutputFile]
