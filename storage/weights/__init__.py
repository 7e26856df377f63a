"""The weights store: model weights from an object store, downloaded once per node, pinned by SHA-256."""

from storage.weights.download import DownloadPlan
from storage.weights.reference import Checkpoint, PinnedFile, read_reference
from storage.weights.store import Presence, WeightsStore

__all__ = ["Checkpoint", "DownloadPlan", "PinnedFile", "Presence", "WeightsStore", "read_reference"]
