"""A pool of decoder processes for all threads: a hostile video ends one process, never the worker."""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
_EXIT_SECONDS = 5.0  # a child that closed its socket is ending: the kernel may still be unmapping its memory


@dataclass(slots=True)
class _Slot:
    child: spawn.DecoderProcess | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A request to a child, and the faults that stand for a missing reply."""

    request: Mapping[str, Any]
    timeout_seconds: float
    target: int | None = None  # the file that a crop is written to
    fault_when_late: VideoFault = VideoFault.DECODE_TIMEOUT
    fault_when_dead: VideoFault = VideoFault.DECODE_CRASHED


class DecoderPool:
    """Decodes videos in ``size`` killable processes, which start when first needed.

    Thread-safe. Every child is replaced after ``videos_per_child`` videos, so that a leak in a decoding
    library stays small. ``decoder`` names an adapter of :mod:`inference.decode.decoders`. Crops are written to
    files without names in ``scratch`` (default: the system's temporary directory). ``environ`` is the part of this
    process's environment that the children get: the variables that select a GPU. ``clock`` gives seconds, for
    the measured wait.
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
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if size < 1:
            raise ValueError(f"a pool of {size} decoders cannot decode: use at least 1")
        self.limits = limits or DecodeLimits()
        self._decoder = decoder
        self._videos_per_child = videos_per_child
        self._scratch = scratch
        self._environ = environ or {}
        self._clock = clock
        self._kinds_logged: set[str] = set()  # of reasons for which another decoder was used
        self._slots = tuple(_Slot() for _ in range(size))
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()  # the child used last comes first
        for slot in self._slots:
            self._idle.put(slot)
        self._lock = threading.Lock()  # guards is_closed and the start of children
        self._is_closed = False
        # A child dies with the thread that started it, so one thread that lives as long as the pool starts them all.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder-starter")

    @property
    def identity(self) -> str:
        """Name of the decoder, and the limits over which it refuses a video."""
        limits = self.limits
        return repr((self._decoder, limits.max_bytes, limits.max_pixels, limits.max_seconds, limits.max_frames_bytes))

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pool."""
        self.close()

    def decode(self, path: Path, plan: DecodePlan, *, timeout_seconds: float | None = None) -> DecodedVideo:
        """Decode the plan's frames of a local file; wait for a free child.

        The timeout (default: the limits') does not include that wait. Raises :class:`BadVideo`;
        :class:`Transient` when no child can be started or the pool is closed; OSError when the file cannot be read.
        """
        order = self._order(path, plan, timeout_seconds or self.limits.timeout_seconds)
        reply, descriptor, queue_milliseconds = self._answered(order, path)
        decoded = _decoded_video(reply, descriptor, plan, {"queue": queue_milliseconds})
        self._log_fallback(decoded)
        return decoded

    def crop(self, path: Path, plan: DecodePlan, crop: Crop, *, timeout_seconds: float | None = None) -> CroppedVideo:
        """Encode the crop of a local file, and decode the plan's frames of that crop, in one pass.

        The caller closes the encoded file, which has no name. Raises as :meth:`decode` does.
        """
        order = self._order(path, plan, timeout_seconds or self.limits.crop_timeout_seconds, crop)
        with ExitStack() as undo:
            target = undo.enter_context(tempfile.TemporaryFile(buffering=0, prefix="tamis-crop-", dir=self._scratch))
            order = replace(order, target=target.fileno())
            reply, descriptor, queue_milliseconds = self._answered(order, path)
            decoded = _decoded_video(reply, descriptor, plan, {"crop_queue": queue_milliseconds})
            encoded = _encoded_crop(reply, crop, target)
            undo.pop_all()
        return CroppedVideo(decoded, encoded)

    def warm_up(self) -> None:
        """Start every idle child now."""
        with ExitStack() as borrowed:
            for _ in self._slots:
                with suppress(queue.Empty):  # a busy one is started already
                    self._live_child(borrowed.enter_context(self._borrowed(wait=False)))

    def children(self) -> tuple[int, ...]:
        """Process ids of the live children."""
        return tuple(child.pid for child in (slot.child for slot in self._slots) if child and child.is_alive)

    def close(self) -> None:
        """Kill every child and wait for its end; callers that decode or wait get :class:`Transient`."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            children = [slot.child for slot in self._slots]
        if was_closed:
            return
        for child in children:
            if child:
                child.running.kill()
        slots = [self._idle.get() for _ in self._slots]  # busy ones return at once: their child is dead
        for slot in slots:
            _end(slot)
            self._idle.put(slot)  # wakes a waiting caller, which then finds the pool closed
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

    def _live_child(self, slot: _Slot) -> spawn.DecoderProcess:
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
            ending = _end(slot, _EXIT_SECONDS)
            self._check_open()
            raise Transient(f"the decoder child did not start: {ending}") from error
        return slot.child

    def _log_fallback(self, decoded: DecodedVideo) -> None:
        """Warn once of each kind of reason: without it, a fleet that decodes on CPUs is merely slow."""
        kind = decoded.fallback_reason.partition(":")[0]
        if kind and kind not in self._kinds_logged:
            self._kinds_logged.add(kind)
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
            fault_when_late=VideoFault.CROP_TIMEOUT,
            fault_when_dead=VideoFault.CROP_FAILED,
        )

    def _answered(self, order: _Order, path: Path) -> tuple[dict[str, Any], int, float]:
        """Return the reply, the descriptor of the frames, and the milliseconds waited for a child."""
        queued = self._clock()
        with self._borrowed() as slot:
            self._live_child(slot)
            queue_milliseconds = (self._clock() - queued) * 1e3
            reply, descriptor = self._reply(slot, order)
        if descriptor is None:
            raise _refusal(reply, path)
        return reply, descriptor, queue_milliseconds

    def _reply(self, slot: _Slot, order: _Order) -> tuple[dict[str, Any], int | None]:
        """Ask a child; if it dies, ask a new one once more: the video need not be the cause."""
        for _ in range(2):
            child = self._live_child(slot)
            try:
                reply = spawn.ask(child, order.request, order.timeout_seconds, order.target)
            except wire.PeerGoneError:
                ending = _end(slot, _EXIT_SECONDS)
                self._check_open()
            except wire.DeadlineError as error:
                _end(slot)
                raise BadVideo(
                    order.fault_when_late, f"the decoder was killed after {order.timeout_seconds:g} s"
                ) from error
            except BaseException:  # a child with an open request must not return to the pool
                _end(slot)
                raise
            else:
                if child.videos_served >= self._videos_per_child or _ran_out_of_memory(reply[0]):
                    _end(slot)
                return reply
        raise BadVideo(order.fault_when_dead, f"the decoder died twice on this video: {ending}")


def _end(slot: _Slot, grace_seconds: float = 0.0) -> str:
    child, slot.child = slot.child, None
    return spawn.end(child, grace_seconds) if child else ""


def _ran_out_of_memory(reply: Mapping[str, Any]) -> bool:
    return reply.get("fault") == VideoFault.DECODE_MEMORY


def _refusal(reply: Mapping[str, Any], path: Path) -> Exception:
    if "errno" in reply:
        return OSError(reply["errno"], reply["message"], str(path))
    return BadVideo(VideoFault(reply["fault"]), reply["message"])


def _decoded_video(
    reply: Mapping[str, Any], descriptor: int, plan: DecodePlan, milliseconds: Mapping[str, float]
) -> DecodedVideo:
    decoded = wire.result_from_json(reply, plan)
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
