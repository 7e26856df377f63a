"""Frames of a camera or a network stream: read in a thread, reconnected after a loss, dropped from a full queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.container import InputContainer

from inference.errors import ProfilingError
from inference.profiling.frames.sources import FileReader, FrameReader, SourceFrame, StepFrames, file_frames, pixels_of

QUEUE_FRAMES = 64
OPEN_SECONDS, READ_SECONDS = 10.0, 5.0  # that a stream may be silent before it counts as lost
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
URL_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://", "srt://")

Connect = Callable[[], InputContainer]


@dataclass(slots=True)
class Losses:
    """Counts of one stream. Written by the reading thread alone."""

    dropped_frames: int = 0  # the queue was full
    missed_frames: int = 0  # estimated: seconds of outages times the rate
    outages: list[float] = field(default_factory=list)  # seconds of each


@dataclass(frozen=True, slots=True)
class Waiting:
    """When to try a lost stream again."""

    deadline_seconds: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


def open_reader(source: str, *, reconnect_seconds: float, is_read_ahead: bool) -> FrameReader:
    """Open a file, a directory, a camera by its number, or a stream by its URL.

    A URL of known length (a file behind HTTP) is read as a file.

    Raises:
        ProfilingError: there is no such source, or it does not answer.
    """
    if source.isdecimal():
        name, connect = f"camera {source}", lambda: _open_camera(source)
    elif source.startswith(URL_SCHEMES):
        name, connect = source, lambda: _open_url(source)
    else:
        return _on_demand(file_frames(Path(source)), source, is_read_ahead=is_read_ahead)
    with closing(_connect_first(connect, name)) as container:
        is_endless = container.duration is None
    if not is_endless:
        return _on_demand(_repeated_url(source), source, is_read_ahead=is_read_ahead)
    losses = Losses()
    frames = stream_frames(connect, name, losses, Waiting(reconnect_seconds))
    return QueueReader(frames, name, is_dropping=True, losses=losses)


def _on_demand(frames: Iterator[SourceFrame], source: str, *, is_read_ahead: bool) -> FrameReader:
    """A reader that loses no frame."""
    return QueueReader(frames, source, is_dropping=False) if is_read_ahead else FileReader(frames)


class QueueReader:
    """Reads frames in a thread of its own. A full queue drops its oldest frame, or makes the thread wait."""

    def __init__(
        self, frames: Iterator[SourceFrame], name: str, *, is_dropping: bool, losses: Losses | None = None
    ) -> None:
        self.losses = losses or Losses()
        self._frames = frames
        self._is_dropping = is_dropping
        self._queue: deque[tuple[float, SourceFrame]] = deque()
        self._limit = QUEUE_FRAMES
        self._changed = threading.Condition()
        self._is_closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._fill, name=f"reader-{name}", daemon=True)
        self._thread.start()

    def read(self, count: int) -> StepFrames:
        """Wait for ``count`` frames and take them.

        Raises:
            ProfilingError: the stream stayed away past its deadline, or a file cannot be decoded.
        """
        started = time.perf_counter()
        with self._changed:
            self._limit = max(self._limit, 2 * count)
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._queue) >= count or self._failure is not None)
            if len(self._queue) < count and self._failure is not None:
                raise self._failure
            taken = [self._queue.popleft() for _ in range(count)]
            self._changed.notify_all()
        now = time.perf_counter()
        lost = self.losses.dropped_frames + self.losses.missed_frames
        return StepFrames([frame for _, frame in taken], now - started, now - taken[0][0], lost)

    def close(self) -> None:
        """End the thread, which lets go of the source."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(READ_SECONDS + 1)

    def _fill(self) -> None:
        try:
            for frame in self._frames:
                if not self._put(frame):
                    return
        except ProfilingError as error:
            self._fail(error)

    def _put(self, frame: SourceFrame) -> bool:
        """Queue a frame; False once the reader is closed."""
        with self._changed:
            if not self._is_dropping:
                self._changed.wait_for(lambda: len(self._queue) < self._limit or self._is_closed)
            elif len(self._queue) >= self._limit:
                self._queue.popleft()
                self.losses.dropped_frames += 1
            self._queue.append((time.perf_counter(), frame))
            self._changed.notify_all()
            return not self._is_closed

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


def stream_frames(connect: Connect, name: str, losses: Losses, waiting: Waiting) -> Iterator[SourceFrame]:
    """Yield a stream's frames, and connect again when it breaks off, with longer and longer pauses.

    Raises:
        ProfilingError: no frame came for ``waiting.deadline_seconds``.
    """
    last_frame_at, pause = waiting.clock(), FIRST_PAUSE_SECONDS
    is_lost, reason = False, "it ended"
    while True:
        try:
            with closing(connect()) as container:
                rate = float(container.streams.video[0].average_rate or 25)
                for frame in container.decode(video=0):
                    now = waiting.clock()
                    if is_lost:
                        losses.outages.append(now - last_frame_at)
                        losses.missed_frames += round((now - last_frame_at) * rate)
                    last_frame_at, pause, is_lost = now, FIRST_PAUSE_SECONDS, False
                    yield SourceFrame(pixels_of(frame))
        except (av.FFmpegError, IndexError) as error:
            reason = str(error)
        is_lost = True
        if waiting.clock() - last_frame_at + pause > waiting.deadline_seconds:
            raise ProfilingError(
                f"{name} has sent no frame for {waiting.clock() - last_frame_at:.0f} s ({reason}): check the sender, "
                f"or wait longer with --reconnect-seconds (now {waiting.deadline_seconds:g})"
            )
        waiting.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _connect_first(connect: Connect, name: str) -> InputContainer:
    """Connect once without trying again: a wrong address is told at once."""
    try:
        return connect()
    except av.FFmpegError as error:
        raise ProfilingError(f"{name} cannot be opened ({error}): check the address, and that it is sending") from error


def _open_camera(number: str) -> InputContainer:
    device = Path(f"/dev/video{number}")
    if not device.exists():
        present = ", ".join(path.name.removeprefix("video") for path in sorted(device.parent.glob("video*"))) or "none"
        raise ProfilingError(f"camera {number} does not exist ({device}); cameras here: {present}")
    return av.open(str(device), format="v4l2", timeout=(OPEN_SECONDS, READ_SECONDS))


def _open_url(url: str) -> InputContainer:
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    return av.open(url, options=options, timeout=(OPEN_SECONDS, READ_SECONDS))


def _repeated_url(url: str) -> Iterator[SourceFrame]:
    while True:
        try:
            with closing(_open_url(url)) as container:
                for frame in container.decode(video=0):
                    yield SourceFrame(pixels_of(frame))
        except av.FFmpegError as error:
            raise ProfilingError(f"{url} broke off ({error}): a file behind HTTP is not read again") from error
