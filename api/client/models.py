"""Methods for model files."""

from typing import Literal

from latentloom.api.client.requests import Requests, path_of
from latentloom.api.wire import Operation
from latentloom.api.wire_nodes import ModelFacts, ModelFile, ModelList, Tokens


class ModelMethods(Requests):
    """The routes for model files. `source` is that of an input that names one, such as "models/checkpoints"."""

    async def models(self) -> list[ModelFile]:
        """Return the model files that workflows can use. Raises ServerError."""
        return (await self._ask(ModelList, "GET", "models")).models

    async def model_facts(self, name: str, source: str = "models/checkpoints") -> ModelFacts:
        """Return what a model file is, by its header, and the settings that suit it. Raises ServerError."""
        return await self._ask(ModelFacts, "GET", path_of("models", "facts", source=source, name=name))

    async def hash_model(self, name: str, source: str = "models/checkpoints") -> Operation:
        """Start to compute a model's sha256. `operation` tells its progress. Raises ServerError."""
        return await self._ask(Operation, "POST", "models/hash", {"source": source, "name": name})

    async def operation(self, id: str) -> Operation:
        """Return the progress and the result of an operation. Raises ServerError."""
        return await self._ask(Operation, "GET", path_of("operations", id))

    async def tokenize(
        self,
        text: str,
        name: str,
        *,
        source: Literal["models/checkpoints", "models/clip"] = "models/checkpoints",
        grammar: Literal["a1111", "comfyui", "plain"] = "a1111",
        steps: int = 20,
    ) -> Tokens:
        """Return how a model's text encoder reads a prompt: chunks, tokens and weights. Raises ServerError."""
        body = {"text": text, "name": name, "source": source, "grammar": grammar, "steps": steps}
        return await self._ask(Tokens, "POST", "tokenize", body)
