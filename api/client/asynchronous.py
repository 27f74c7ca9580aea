"""The client for asyncio."""

from latentloom.api.client.batches import BatchMethods
from latentloom.api.client.models import ModelMethods
from latentloom.api.client.nodes import NodeMethods
from latentloom.api.client.system import SystemMethods
from latentloom.api.client.workflows import WorkflowMethods


class AsyncClient(BatchMethods, NodeMethods, ModelMethods, WorkflowMethods, SystemMethods):
    """A client for asyncio. Close it with `async with AsyncClient() as client:` or `close`."""
