"""Real clips with a painted logo and black bars, and a stand-in for a trained detector that finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from inference.models.lending import Pool
from inference.models.scoring import Models
from inference.types import Clip, DecodedVideo, Detection, Frames
from tests.media import real_clip

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

LOGO_COLOUR = (255, 0, 255)  # very rare in real pictures
LABELS = ("logo", "border", "border")


def brand(name: str, path: Path, logo: Box | None, bar_pixels: int = 0) -> tuple[Path, list[Box]]:
    """Paint a logo and bars (above and below) on every frame of a real clip; its sound is copied.

    Return the new clip and the boxes of the painted parts.
    """
    with av.open(str(real_clip(name))) as source, av.open(str(path), "w") as output:
        video = source.streams.video[0]
        written = output.add_stream("libx264", rate=video.average_rate, options={"crf": "16", "preset": "ultrafast"})
        written.width, written.height, written.pix_fmt = video.width, video.height, "yuv420p"
        written.codec_context.time_base = video.time_base
        sound = {stream.index: output.add_stream_from_template(stream) for stream in source.streams.audio}
        for packet in source.demux(video, *source.streams.audio):
            if packet.stream_index in sound and packet.size:
                packet.stream = sound[packet.stream_index]
                output.mux(packet)
            elif packet.stream_index == video.index:
                for frame in packet.decode():
                    output.mux(written.encode(_branded(frame, logo, bar_pixels)))
        output.mux(written.encode(None))
        width, height = video.width, video.height
    bars = [(0, 0, width, bar_pixels), (0, height - bar_pixels, width, height)] if bar_pixels else []
    return path, ([logo] if logo else []) + bars


def _branded(frame: av.VideoFrame, logo: Box | None, bar_pixels: int) -> av.VideoFrame:
    picture: Frames = frame.to_ndarray(format="rgb24")
    if logo:
        left, top, right, bottom = logo
        picture[top:bottom, left:right] = LOGO_COLOUR
    if bar_pixels:
        picture[:bar_pixels], picture[-bar_pixels:] = 0, 0
    branded = av.VideoFrame.from_ndarray(picture, "rgb24")
    branded.pts, branded.time_base = frame.pts, frame.time_base
    return branded


class StandInDetector:
    """NOT a model: it knows the true boxes, and returns them as a trained detector might.

    Every box is shifted by some pixels at random and missed in one frame of eight; every second frame has a false box.
    """

    def __init__(self, boxes: Sequence[Box], shift_pixels: int = 3, seed: int = 0) -> None:
        self._boxes = boxes
        self._shift_pixels = shift_pixels
        self._rng = np.random.default_rng(seed)

    def detect(self, decoded: DecodedVideo, clip: Clip) -> list[Detection]:
        moments = decoded.pictures[clip.request.picture].pts_seconds[clip.indices].tolist()
        return [found for place, moment in enumerate(moments) for found in self._on_frame(place, moment, decoded)]

    def warm_up(self) -> None:
        pass

    def _on_frame(self, place: int, moment: float, decoded: DecodedVideo) -> list[Detection]:
        width, height = decoded.probe.width, decoded.probe.height
        found = []
        for number, (box, label) in enumerate(zip(self._boxes, LABELS, strict=False)):
            if (place + number) % 8 == 7:  # missed
                continue
            shifted = np.array(box) + self._rng.integers(-self._shift_pixels, self._shift_pixels + 1, 4)
            x1, y1, x2, y2 = np.clip(shifted, 0, (width, height, width, height)).tolist()
            found.append(Detection(moment, label, 0.9, (float(x1), float(y1), float(x2), float(y2))))
        if place % 2:
            x, y = self._rng.uniform(0, 0.5, 2) * (width, height)
            found.append(Detection(moment, "logo", 0.4, (x, y, x + width / 2, y + height / 2)))
        return found


def as_if_trained(models: Models, detector: StandInDetector) -> Models:
    """Return the models with this detector, whose weights then count as trained."""
    spec = models.manifest.detector
    assert spec is not None
    return replace(models, detectors=Pool({spec.name: [detector]}), untrained=models.untrained - {spec.name})
