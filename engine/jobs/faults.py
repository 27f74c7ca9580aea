"""The errors of requests about jobs."""

from latentloom.engine.errors import LoomError


class UnknownJob(LoomError):
    """No job has this id."""

    code = "unknown_job"


class UnknownBatch(LoomError):
    """No batch has this id."""

    code = "unknown_batch"


class WrongState(LoomError):
    """The operation is not allowed in the job's state."""

    code = "wrong_state"


class QueueFull(LoomError):
    """The limit of waiting jobs is reached."""

    code = "queue_full"


class KeyReused(LoomError):
    """An idempotency key was used again with a different request."""

    code = "key_reused"


class StaleAttempt(LoomError):
    """A worker reports on an attempt that is no longer the job's current one."""

    code = "stale_attempt"


class EffectUnknown(LoomError):
    """A node may have had its effect before the worker died, so it is not repeated."""

    code = "effect_unknown"


class DatabaseError(LoomError):
    """The queue cannot be opened: a newer version wrote it, another server uses it, or a folder is not writable."""

    code = "queue_not_opened"


class StorageError(LoomError):
    """The queue cannot be written: the disk is full or read-only."""

    code = "storage_failed"
