"""Where a pipeline goes on after it was killed: how far it had read, what it kept, what it had said."""

from streams.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointStore,
    Fenced,
    MissingDriver,
    Output,
    StoredPartition,
    StoreRefused,
)
from streams.checkpoints.sqlite import Checkpoints
from streams.checkpoints.stores import open_store

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "Checkpoints",
    "Fenced",
    "MissingDriver",
    "Output",
    "StoreRefused",
    "StoredPartition",
    "open_store",
]
