"""A few decoder children that any thread may borrow: one poison video costs one child, never the worker."""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from inference.decode.frames import shared_frames
from inference.decode.limits import check_file
from inference.decode.options import DecodeLimits
from inference.decode.processes import spawn, wire
from inference.errors import BadVideo, Transient, VideoFault
from inference.types import Audio, Crop, CroppedVideo, DecodedVideo, DecodePlan, EncodedCrop, Picture

log = logging.getLogger(__name__)

_START_SECONDS = 60.0  # importing NumPy and PyAV on a cold, busy disk
_LAST_WORDS_SECONDS = 5.0  # a child that hung up is dying: the kernel may still be unmapping its memory


@dataclass(slots=True)
class _Slot:
    child: spawn.Child | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is asked of a child, and what it means when it does not answer."""

    request: Mapping[str, Any]
    timeout_seconds: float
    target: int | None = None  # the file that a crop is written to
    too_slow: VideoFault = VideoFault.DECODE_TIMEOUT
    deadly: VideoFault = VideoFault.DECODE_CRASHED


class DecoderPool:
    """Decodes videos in ``size`` killable processes, which start when first needed.

    Thread-safe. Every child is replaced after ``videos_per_child`` videos, so that a leak in a decoding
    library stays small. ``decoder`` names an adapter of :mod:`inference.decode.decoders`. Crops are written below
    ``scratch`` (default: the system's temporary directory), to files without names. ``environ`` is all of this
    process's environment that the children get: what a GPU is found by.
    """

    def __init__(
        self,
        size: int,
        limits: DecodeLimits | None = None,
        decoder: str = "pyav",
        *,
        videos_per_child: int = 500,
        scratch: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"a pool of {size} decoders cannot decode: use at least 1")
        self.limits = limits or DecodeLimits()
        self._decoder = decoder
        self._videos_per_child = videos_per_child
        self._scratch = scratch
        self._environ = environ or {}
        self._kinds_told: set[str] = set()  # of reasons for which another decoder had to help out
        self._slots = tuple(_Slot() for _ in range(size))
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()  # the warmest child first
        for slot in self._slots:
            self._idle.put(slot)
        self._lock = threading.Lock()  # guards is_closed and the start of children
        self._is_closed = False
        # Children die with the thread that started them, so all are started by one that lives as long as the pool.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder-starter")

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pool."""
        self.close()

    def decode(self, path: Path, plan: DecodePlan, *, timeout_seconds: float | None = None) -> DecodedVideo:
        """Decode what the plan wants of a local file; waits for a free child.

        The timeout (default: the limits') does not include that wait. Raises :class:`BadVideo`;
        :class:`Transient` when no child can be started or the pool is closed; OSError when the file cannot be read.
        """
        order = self._order(path, plan, timeout_seconds or self.limits.timeout_seconds)
        reply, descriptor, queue_milliseconds = self._carry_out(order, path)
        decoded = _decoded_video(reply, descriptor, plan, {"queue": queue_milliseconds})
        self._tell_of_fallback(decoded)
        return decoded

    def crop(self, path: Path, plan: DecodePlan, crop: Crop, *, timeout_seconds: float | None = None) -> CroppedVideo:
        """Encode the crop of a local file, and decode what the plan wants of that crop, in one pass.

        The caller closes the encoded file, which nobody else can see. Raises as :meth:`decode` does.
        """
        order = self._order(path, plan, timeout_seconds or self.limits.crop_timeout_seconds, crop)
        with ExitStack() as undo:
            target = undo.enter_context(tempfile.TemporaryFile(buffering=0, prefix="tamis-crop-", dir=self._scratch))
            order = replace(order, target=target.fileno())
            reply, descriptor, queue_milliseconds = self._carry_out(order, path)
            decoded = _decoded_video(reply, descriptor, plan, {"crop_queue": queue_milliseconds})
            encoded = _encoded_crop(reply, crop, target)
            undo.pop_all()
        return CroppedVideo(decoded, encoded)

    def warm_up(self) -> None:
        """Start every idle child now."""
        with ExitStack() as borrowed:
            for _ in self._slots:
                with suppress(queue.Empty):  # a busy one is warm already
                    self._live_child(borrowed.enter_context(self._borrowed(wait=False)))

    def children(self) -> tuple[int, ...]:
        """Process ids of the live children."""
        return tuple(child.pid for child in (slot.child for slot in self._slots) if child and child.is_alive)

    def close(self) -> None:
        """Kill and reap every child; those decoding or waiting get :class:`Transient`."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            busy_or_idle = [slot.child for slot in self._slots]
        if was_closed:
            return
        for child in busy_or_idle:
            if child:
                child.running.kill()
        slots = [self._idle.get() for _ in self._slots]  # the busy ones come back at once: their child is dead
        for slot in slots:
            _end(slot)
            self._idle.put(slot)  # wakes who waits, to be told that the pool is closed
        self._starter.shutdown()

    @contextmanager
    def _borrowed(self, *, wait: bool = True) -> Iterator[_Slot]:
        slot = self._idle.get(block=wait)
        try:
            self._check_open()
            yield slot
        finally:
            self._idle.put(slot)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Transient("the decoder pool is closed: this process is shutting down")

    def _live_child(self, slot: _Slot) -> spawn.Child:
        """Return the slot's child, starting one if there is none or it died while idle."""
        if slot.child and slot.child.is_alive:
            return slot.child
        _end(slot)
        with self._lock:
            self._check_open()
            slot.child = self._starter.submit(spawn.start, self._decoder, self.limits, self._environ).result()
        try:
            spawn.await_reply(slot.child, _START_SECONDS)
        except (wire.PeerGoneError, wire.DeadlineError) as error:
            ending = _end(slot, _LAST_WORDS_SECONDS)
            self._check_open()
            raise Transient(f"the decoder child did not start: {ending}") from error
        return slot.child

    def _tell_of_fallback(self, decoded: DecodedVideo) -> None:
        """Warn once of each kind of reason: a fleet on its CPUs looks like one on its GPUs, only slower."""
        kind = decoded.fallback_reason.partition(":")[0]
        if kind and kind not in self._kinds_told:
            self._kinds_told.add(kind)
            log.warning("decoded by %s, not %s: %s", decoded.decoder, self._decoder, decoded.fallback_reason)

    def _order(self, path: Path, plan: DecodePlan, timeout_seconds: float, crop: Crop | None = None) -> _Order:
        request = {
            "path": str(path.resolve()),
            "size_bytes": check_file(path, self.limits),
            "plan": wire.plan_to_json(plan),
        }
        if crop is None:
            return _Order(request=request, timeout_seconds=timeout_seconds)
        return _Order(
            request={**request, "crop": asdict(crop)},
            timeout_seconds=timeout_seconds,
            too_slow=VideoFault.CROP_TIMEOUT,
            deadly=VideoFault.CROP_FAILED,
        )

    def _carry_out(self, order: _Order, path: Path) -> tuple[dict[str, Any], int, float]:
        """Return the reply, the descriptor of the frames, and the milliseconds waited for a child."""
        queued = time.perf_counter()
        with self._borrowed() as slot:
            self._live_child(slot)
            queue_milliseconds = (time.perf_counter() - queued) * 1e3
            reply, descriptor = self._reply(slot, order)
        if descriptor is None:
            raise _refusal(reply, path)
        return reply, descriptor, queue_milliseconds

    def _reply(self, slot: _Slot, order: _Order) -> tuple[dict[str, Any], int | None]:
        """Ask; if the child dies over it, ask a fresh one once more: it may have been an accident."""
        for _ in range(2):
            child = self._live_child(slot)
            try:
                reply = spawn.ask(child, order.request, order.timeout_seconds, order.target)
            except wire.PeerGoneError:
                ending = _end(slot, _LAST_WORDS_SECONDS)
                self._check_open()
            except wire.DeadlineError as error:
                _end(slot)
                raise BadVideo(order.too_slow, f"the decoder was killed after {order.timeout_seconds:g} s") from error
            except BaseException:  # not mid-conversation back into the pool
                _end(slot)
                raise
            else:
                if child.videos_served >= self._videos_per_child or _left_it_short_of_memory(reply[0]):
                    _end(slot)
                return reply
        raise BadVideo(order.deadly, f"the decoder died twice over it: {ending}")


def _end(slot: _Slot, grace_seconds: float = 0.0) -> str:
    child, slot.child = slot.child, None
    return spawn.end(child, grace_seconds) if child else ""


def _left_it_short_of_memory(reply: Mapping[str, Any]) -> bool:
    return reply.get("fault") == VideoFault.DECODE_MEMORY


def _refusal(reply: Mapping[str, Any], path: Path) -> Exception:
    if "errno" in reply:
        return OSError(reply["errno"], reply["message"], str(path))
    return BadVideo(VideoFault(reply["fault"]), reply["message"])


def _decoded_video(
    reply: Mapping[str, Any], descriptor: int, plan: DecodePlan, milliseconds: Mapping[str, float]
) -> DecodedVideo:
    decoded = wire.yield_from_json(reply, plan)
    try:
        shared_frames.forbid_shrinking(descriptor)
        frames = shared_frames.map_pictures(descriptor, decoded.layout)
    finally:
        os.close(descriptor)
    return DecodedVideo(
        probe=decoded.probe,
        pictures={spec: Picture(frames[spec], pts) for spec, pts in decoded.pts_seconds.items()},
        clips=decoded.clips,
        decoded_fraction=decoded.decoded_fraction,
        milliseconds={**milliseconds, **decoded.milliseconds},
        decoder=decoded.decoder,
        fallback_reason=decoded.fallback_reason,
    )


def _encoded_crop(reply: Mapping[str, Any], crop: Crop, file: BinaryIO) -> EncodedCrop:
    encoded = reply["encoded"]
    return EncodedCrop(file=file, crop=crop, **{**encoded, "audio": Audio(encoded["audio"])})
