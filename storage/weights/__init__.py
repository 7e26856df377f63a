"""The model store: weights in an object store, brought to each node once, pinned by SHA-256."""

from storage.weights.attempts import DownloadPlan
from storage.weights.reference import Checkpoint, PinnedFile, read_reference
from storage.weights.store import Presence, WeightsStore

__all__ = ["Checkpoint", "DownloadPlan", "PinnedFile", "Presence", "WeightsStore", "read_reference"]
