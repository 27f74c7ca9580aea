"""What can be wrong with a request about jobs."""

from latentloom.engine.errors import LoomError


class UnknownJob(LoomError):
    """No job has that id."""

    code = "unknown_job"


class WrongState(LoomError):
    """A job is not in a state in which that can be done."""

    code = "wrong_state"


class QueueFull(LoomError):
    """More jobs wait than the limit allows."""

    code = "queue_full"


class KeyReused(LoomError):
    """An idempotency key came again with another request."""

    code = "key_reused"


class StaleAttempt(LoomError):
    """A worker reports on an attempt that is no longer the job's own."""

    code = "stale_attempt"


class EffectUnknown(LoomError):
    """A node may have had its effect before the worker died; it is not repeated."""

    code = "effect_unknown"


class DatabaseError(LoomError):
    """The queue cannot be opened: a newer version wrote it, another server has it, a folder cannot be written to."""

    code = "queue_not_opened"


class StorageError(LoomError):
    """The queue cannot be written to: the disk is full or read-only."""

    code = "storage_failed"
