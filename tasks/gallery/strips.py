"""A strip of frames for each video, made once: JPEG files beside a journal of facts that later calls read."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from inference.decode import DecoderPool
from inference.errors import InferenceError
from inference.stills.strip import thumbnails_of, with_thumbnails
from inference.types import DecodePlan
from storage.errors import StorageError
from storage.objects.protocol import ObjectStore
from storage.uri import ObjectUri
from tasks.gallery.rows import StoredStrip
from tasks.uploads.thumbnails import fetch_strip

JOURNAL = "strips.jsonl"


@dataclass(frozen=True, slots=True)
class Strip:
    """The facts of one video and its strip; ``file`` is empty when no strip could be made, ``reason`` says why."""

    uri: str
    file: str = ""  # relative to the gallery
    width: int = 0  # pixels of the upright source
    height: int = 0
    duration_seconds: float = 0.0
    frames_per_second: float = 0.0
    codec: str = ""
    size_bytes: int = 0
    frame_seconds: tuple[float, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the facts without the address."""
        return {name: value for name, value in asdict(self).items() if name != "uri"}


def read_journal(folder: Path) -> dict[str, Strip]:
    """Return by address the strips that earlier calls made and that are still there; a torn last line is left out."""
    path = folder / JOURNAL
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            facts = json.loads(line)
            strip = Strip(**{**facts, "frame_seconds": tuple(facts["frame_seconds"])})
        except (ValueError, TypeError, KeyError):
            continue
        if strip.file and (folder / strip.file).exists():
            found[strip.uri] = strip
    return found


def make_strips(
    uris: Mapping[ObjectUri, StoredStrip | None], folder: Path, store: ObjectStore, pool: DecoderPool, threads: int
) -> Iterator[Strip]:
    """Yield a strip for each address, several at once, and note each in the journal as soon as it is there.

    A strip that workers stored is taken from there; when it is gone, the video is decoded.
    """
    waiting = iter(uris.items())
    with ThreadPoolExecutor(threads, thread_name_prefix="strips") as executor, (folder / JOURNAL).open("a") as journal:
        running = deque(executor.submit(_strip, *one, folder, store, pool) for one in islice(waiting, 2 * threads))
        while running:
            strip = running.popleft().result()
            running += [executor.submit(_strip, *one, folder, store, pool) for one in islice(waiting, 1)]
            journal.write(json.dumps({"uri": strip.uri, **strip.to_json()}) + "\n")
            journal.flush()
            yield strip


def _strip(uri: ObjectUri, stored: StoredStrip | None, folder: Path, store: ObjectStore, pool: DecoderPool) -> Strip:
    if stored is not None:
        with suppress(StorageError):
            return take_strip(uri, stored, folder, store)
    return make_strip(uri, folder, store, pool)


def take_strip(uri: ObjectUri, stored: StoredStrip, folder: Path, store: ObjectStore) -> Strip:
    """Copy the strip that a worker stored into the folder. Raises ``StorageError`` when it is gone."""
    content = fetch_strip(stored.address, store)
    video = stored.video
    return Strip(
        str(uri),
        _written(uri, folder, content),
        int(video.get("width") or 0),
        int(video.get("height") or 0),
        float(video.get("duration_seconds") or 0.0),
        float(video.get("fps") or 0.0),
        str(video.get("codec") or ""),
        int(video.get("size_bytes") or 0),
        tuple(stored.frame_seconds),
    )


def make_strip(uri: ObjectUri, folder: Path, store: ObjectStore, pool: DecoderPool) -> Strip:
    """Fetch a video, decode a few frames of it and write them side by side as one JPEG."""
    try:
        with TemporaryDirectory(prefix="tamis-gallery-") as scratch:
            path = Path(scratch, "video")
            with path.open("wb") as file:
                store.fetch(uri, store.stat(uri), file)
            decoded = pool.decode(path, with_thumbnails(DecodePlan(())))
    except (StorageError, InferenceError) as error:
        return Strip(str(uri), reason=str(error)[:300])
    thumbnails, probe = thumbnails_of(decoded), decoded.probe
    return Strip(
        str(uri),
        _written(uri, folder, thumbnails.jpeg),
        probe.width,
        probe.height,
        round(probe.duration_seconds, 3),
        round(probe.frame_count / probe.duration_seconds, 3) if probe.duration_seconds else 0.0,
        probe.codec,
        probe.size_bytes,
        thumbnails.frame_seconds,
    )


def _written(uri: ObjectUri, folder: Path, content: bytes) -> str:
    name = f"strips/{sha256(str(uri).encode()).hexdigest()[:20]}.jpg"
    _write(folder / name, content)
    return name


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def reasons(strips: Mapping[str, Strip]) -> list[str]:
    """Return why strips are missing, each reason once."""
    return sorted({strip.reason for strip in strips.values() if strip.reason})
