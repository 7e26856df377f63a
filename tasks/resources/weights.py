"""Weights that a manifest names in the object store: brought to this node before models open, looked at by doctor."""

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
    """What stands on this node of the weights that one manifest entry names."""

    entry: str  # as in heads.vfx
    is_well: bool
    found: str
    remedy: str = ""


def bring_weights(manifest: Manifest, settings: Settings) -> Manifest:
    """Download what is missing on this node, and return the manifest that knows where it lies; its digest is the same.

    Raises what ``WeightsStore.ensure`` raises, and ``UsageError`` when the origin cannot be read in parts.
    """
    if not manifest.remote_weights:
        return manifest
    store = open_weights(settings, open_tiers(settings).origin)
    return manifest.with_local(
        {one.weights: store.ensure(_checkpoint(one, settings)) for one in manifest.remote_weights}
    )


def open_weights(settings: Settings, origin: ObjectStore) -> WeightsStore:
    """This node's weights directory; what it lacks comes from where videos come from."""
    if not isinstance(origin, RangedStore):
        raise UsageError(
            f"weights cannot be read from a {type(origin).__name__}: let OSS or a directory be the last tier"
        )
    plan = DownloadPlan(parallel_parts=settings.weights.max_parts)
    return WeightsStore(settings.weights_root, origin, plan, patience_seconds=settings.weights.timeout_seconds)


def look_at_weights(manifest: Manifest, settings: Settings) -> Iterator[WeightsStatus]:
    """One status per entry whose weights are files; nothing is downloaded and nothing digested."""
    origin = open_tiers(settings).origin if manifest.remote_weights else None
    for entry in manifest.spec.weights_entries:
        if is_remote(entry.weights) and origin is not None:
            yield _look_at_remote(entry, origin, settings)
        elif (path := manifest.weights_path(entry.weights)) is not None:  # else seeded
            yield _look_at_path(entry, path)


def _checkpoint(entry: WeightsEntry, settings: Settings) -> Checkpoint:
    return read_reference(entry.weights, entry.sha256, allowed_buckets=settings.weights.buckets)


def _look_at_path(entry: WeightsEntry, path: Path) -> WeightsStatus:
    pinned = "pinned" if entry.sha256 else "not pinned"
    return WeightsStatus(
        entry.name,
        is_well=path.exists(),
        found=f"{entry.weights}: {'present' if path.exists() else f'missing, {path} is not there'}; {pinned}",
        remedy=f"put the checkpoint at {path}, or correct weights in {entry.name}",
    )


def _look_at_remote(entry: WeightsEntry, origin: ObjectStore, settings: Settings) -> WeightsStatus:
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
