"""Weights that a manifest names in the object store: downloaded before models open, checked by doctor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.manifest.weights import is_remote
from storage.errors import StorageError, UsageError
from storage.objects.protocol import ObjectStore, RangedStore
from storage.weights import Checkpoint, DownloadPlan, PinnedFile, Presence, WeightsStore, read_reference
from tasks.resources.stores import open_tiers
from tasks.settings import Settings

if TYPE_CHECKING:
    from inference.manifest import Manifest
    from inference.manifest.schema import WeightsEntry

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class WeightsStatus:
    """State on this node of the weights of one manifest entry."""

    entry: str  # as in heads.vfx
    is_well: bool
    found: str
    remedy: str = ""


def check_trained(manifest: Manifest, settings: Settings) -> None:
    """Check that the ``production`` manifest has no seeded weights. Raises ``UsageError`` unless they are allowed."""
    if manifest.name == "production" and manifest.is_untrained and not settings.models.allows_untrained:
        raise UsageError(
            "the production manifest has seeded weights, so its verdicts would mean nothing: name your checkpoints in "
            "a copy of it (docs/manifests.md), or set TAMIS_ALLOW_UNTRAINED=true to run it all the same"
        )


def fetch_weights(manifest: Manifest, settings: Settings) -> Manifest:
    """Download missing weights, and return the manifest with their local paths; its digest stays the same.

    Raises the errors of ``WeightsStore.ensure``, and ``UsageError`` when the origin cannot be read in parts.
    """
    if not manifest.remote_weights:
        return manifest
    store = open_weights(settings, open_tiers(settings).origin)
    return manifest.with_local(
        {entry.weights: store.ensure(_checkpoint(entry, settings)) for entry in manifest.remote_weights}
    )


def open_weights(settings: Settings, origin: ObjectStore) -> WeightsStore:
    """Return the store of this node's weights directory; missing files come from the videos' object store."""
    if not isinstance(origin, RangedStore):
        raise UsageError(
            f"weights cannot be read from a {type(origin).__name__}: set TAMIS_OSS_ENDPOINT or TAMIS_OBJECT_ROOT"
        )
    plan = DownloadPlan(parallel_parts=settings.weights.max_parts)
    return WeightsStore(settings.weights_root, origin, plan, patience_seconds=settings.weights.timeout_seconds)


def weights_statuses(manifest: Manifest, settings: Settings) -> Iterator[WeightsStatus]:
    """Yield one status per entry whose weights are files, without a download or a digest."""
    origin = open_tiers(settings).origin if manifest.remote_weights else None
    for entry in manifest.spec.weights_entries:
        if is_remote(entry.weights) and origin is not None:
            yield _check_remote(entry, origin, settings)
        elif (path := manifest.weights_path(entry.weights)) is not None:  # else seeded
            yield _check_path(entry, path)


def _checkpoint(entry: WeightsEntry, settings: Settings) -> Checkpoint:
    return read_reference(entry.weights, entry.sha256, allowed_buckets=settings.weights.buckets)


def _check_path(entry: WeightsEntry, path: Path) -> WeightsStatus:
    pinned = "pinned" if entry.sha256 else "not pinned"
    return WeightsStatus(
        entry.name,
        is_well=path.exists(),
        found=f"{entry.weights}: {'present' if path.exists() else f'missing, {path} is not there'}; {pinned}",
        remedy=f"put the checkpoint at {path}, or correct weights in {entry.name}",
    )


def _check_remote(entry: WeightsEntry, origin: ObjectStore, settings: Settings) -> WeightsStatus:
    try:
        store = open_weights(settings, origin)
        found = [_describe(file, store, origin) for file in _checkpoint(entry, settings).files]
    except StorageError as error:
        return WeightsStatus(entry.name, is_well=False, found=str(error), remedy="see the message")
    return WeightsStatus(entry.name, is_well=True, found=f"{entry.weights}: {', '.join(found)}; pinned")


def _describe(file: PinnedFile, store: WeightsStore, origin: ObjectStore) -> str:
    presence = store.presence(file)
    if presence is Presence.PRESENT:
        return f"{file.name} is on this node"
    if presence is Presence.UNVERIFIED:
        return f"{file.name} is on this node, to be verified"
    size = f"{origin.stat(file.uri).size_bytes / MIB:.1f} MiB"
    return f"{file.name} {'is partly here' if presence is Presence.PARTIAL else 'is to be downloaded'} ({size})"
