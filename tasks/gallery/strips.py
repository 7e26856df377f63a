"""A strip of frames for each video, made once: JPEG files beside a journal of facts that later calls read."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from inference.decode import DecoderPool
from inference.errors import InferenceError
from inference.types import ClipRequest, DecodePlan, Fit, Frames, PictureSpec, Scope
from storage.errors import StorageError
from storage.objects.protocol import ObjectStore
from storage.uri import ObjectUri

FRAMES = 6
WIDTH, HEIGHT = 128, 72  # pixels of one frame of a strip
QUALITY = "4"  # of the JPEG: FFmpeg's q, from 2 (best) to 31
JOURNAL = "strips.jsonl"
PLAN = DecodePlan((ClipRequest(Scope.WHOLE, PictureSpec(HEIGHT, WIDTH, Fit.LETTERBOX), FRAMES),))


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
    uris: Iterable[ObjectUri], folder: Path, store: ObjectStore, pool: DecoderPool, threads: int
) -> Iterator[Strip]:
    """Yield a strip for each address, several at once, and note each in the journal as soon as it is there."""
    waiting = iter(uris)
    with ThreadPoolExecutor(threads, thread_name_prefix="strips") as executor, (folder / JOURNAL).open("a") as journal:
        running = deque(executor.submit(make_strip, uri, folder, store, pool) for uri in islice(waiting, 2 * threads))
        while running:
            strip = running.popleft().result()
            running += [executor.submit(make_strip, uri, folder, store, pool) for uri in islice(waiting, 1)]
            journal.write(json.dumps({"uri": strip.uri, **strip.to_json()}) + "\n")
            journal.flush()
            yield strip


def make_strip(uri: ObjectUri, folder: Path, store: ObjectStore, pool: DecoderPool) -> Strip:
    """Fetch a video, decode :data:`FRAMES` frames of it and write them side by side as one JPEG."""
    try:
        with TemporaryDirectory(prefix="tamis-gallery-") as scratch:
            path = Path(scratch, "video")
            with path.open("wb") as file:
                store.fetch(uri, store.stat(uri), file)
            decoded = pool.decode(path, PLAN)
    except (StorageError, InferenceError) as error:
        return Strip(str(uri), reason=str(error)[:300])
    picture, clip = decoded.pictures[PLAN.requests[0].picture], decoded.clips[0]
    name = f"strips/{sha256(str(uri).encode()).hexdigest()[:20]}.jpg"
    _write(folder / name, jpeg(np.concatenate(list(picture.frames[clip.indices]), axis=1)))
    probe = decoded.probe
    return Strip(
        str(uri),
        name,
        probe.width,
        probe.height,
        round(probe.duration_seconds, 3),
        round(probe.frame_count / probe.duration_seconds, 3) if probe.duration_seconds else 0.0,
        probe.codec,
        probe.size_bytes,
        tuple(round(float(seconds), 3) for seconds in picture.pts_seconds[clip.indices]),
    )


def jpeg(picture: Frames) -> bytes:
    """Encode a picture (height, width, 3), uint8 RGB, as JPEG."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.shape[1], picture.shape[0], "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": QUALITY, "qmax": QUALITY}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def reasons(strips: Mapping[str, Strip]) -> list[str]:
    """Return why strips are missing, each reason once."""
    return sorted({strip.reason for strip in strips.values() if strip.reason})
