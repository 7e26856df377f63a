"""Pictures of a camera or a stream while it plays, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from inference.errors import BadVideo, VideoFault
from inference.stills.parts import StillTarget
from inference.stills.pictures import PictureEncoder
from inference.stills.selection import StillChoice

SILENCE_SECONDS = 10.0  # of a stream that sends nothing, before it is given up
CAMERA_FORMAT = "v4l2"  # Video for Linux


def is_live(source: str) -> bool:
    """Say whether ``source`` is a camera's number or a stream's URL, not a file."""
    return source.isdecimal() or "://" in source


def write_live_stills(source: str, choice: StillChoice, target: StillTarget, seconds: float) -> Iterator[Path]:
    """Write the chosen frames of the first ``seconds`` and yield their paths.

    Raises:
        BadVideo: the stream cannot be opened, has no picture, or fell silent.
        OSError: the disk is full.
    """
    if choice.is_by_scene:
        raise BadVideo(VideoFault.UNSUPPORTED, "scenes of a stream are not looked for; give --fps or --every")
    encoder = PictureEncoder(target.still_format, target.size)
    try:
        with _opened(source) as container:
            for number, (moment, frame) in enumerate(_chosen(_frames(container, seconds), choice), 1):
                path = target.path(number, moment)
                encoder.write(frame, path)
                yield path
    except av.FFmpegError as error:
        raise BadVideo(VideoFault.NOT_A_VIDEO, f"{source} cannot be read ({error.strerror})") from error


def _opened(source: str) -> InputContainer:
    if source.isdecimal():
        return av.open(f"/dev/video{source}", format=CAMERA_FORMAT)
    return av.open(source, timeout=SILENCE_SECONDS)


def _frames(container: InputContainer, seconds: float) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the frames with their times in seconds from the first one, before ``seconds``."""
    first: float | None = None
    if not container.streams.video:
        raise BadVideo(VideoFault.NOT_A_VIDEO, "the stream has no picture")
    for frame in container.decode(video=0):
        first = frame.time if first is None else first
        if frame.time - first >= seconds:
            return
        yield frame.time - first, frame


def _chosen(frames: Iterator[tuple[float, VideoFrame]], choice: StillChoice) -> Iterator[tuple[float, VideoFrame]]:
    """Yield every n-th frame, or the first frame at or after each moment of the rate."""
    due = 0
    for place, (moment, frame) in enumerate(frames):
        if choice.every is not None:
            is_due = place % choice.every == 0
        else:
            is_due = moment * (choice.frames_per_second or 1) >= due - 1e-6
        if is_due:
            due = int(moment * (choice.frames_per_second or 1) + 1e-6) + 1
            yield moment, frame
