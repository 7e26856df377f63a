"""Pictures of a video's frames, a picture every two seconds: ours in one and two processes, against libavfilter.

libavfilter in two decoding threads is what ``ffmpeg -vf select`` runs: every frame is decoded, the wanted ones are
encoded as PNG. The same frames are taken; pictures may differ by the rounding of colour conversion.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from bench.clips import FPS, joined
from bench.comparison import Case, Comparison, Work
from inference.decode.options import DecodeLimits
from inference.stills.parts import StillTarget
from inference.stills.pictures import PictureEncoder, StillFormat
from inference.stills.selection import StillChoice
from inference.stills.write import write_stills

SECONDS, SHORT_SECONDS = 60, 4
WIDTH, HEIGHT = 1280, 720
EVERY = 2 * FPS  # frames: 0.5 pictures a second


def _clip(is_short: bool) -> Path:
    return joined(WIDTH, HEIGHT, SHORT_SECONDS if is_short else SECONDS)


def libavfilter(path: Path, directory: Path) -> None:
    """Write every wanted frame as ffmpeg does."""
    encoder = PictureEncoder(StillFormat.PNG, None)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        graph = Graph()
        source = graph.add_buffer(template=stream)
        select, sink = graph.add("select", f"not(mod(n,{EVERY}))"), graph.add("buffersink")
        source.link_to(select)
        select.link_to(sink)
        graph.configure()
        number = 0
        for frame in container.decode(stream):
            graph.push(frame)
            for chosen in _pulled(graph):
                number += 1
                (directory / f"{number:06d}.png").write_bytes(encoder.encoded(chosen.to_ndarray(format="rgb24")))


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def ours(path: Path, directory: Path, *, processes: int) -> None:
    """Write them as ``tamis frames`` does; starting its processes counts."""
    target = StillTarget(directory, "", StillFormat.PNG, None)
    write_stills(path, StillChoice(every=EVERY), target, processes, DecodeLimits())


@contextmanager
def _variant(write: Callable[[Path, Path], None], is_short: bool) -> Iterator[Work]:
    with tempfile.TemporaryDirectory() as folder:

        def work() -> Callable[[], Any]:
            write(_clip(is_short), Path(folder))
            return lambda: [_means(path) for path in sorted(Path(folder).iterdir())]

        yield work


def _means(path: Path) -> list[float]:
    """Mean of each channel of a picture."""
    with av.open(str(path)) as opened:
        means: list[float] = next(opened.decode(video=0)).to_ndarray(format="rgb24").mean(axis=(0, 1)).tolist()
    return means


def _count(is_short: bool) -> float:
    return float(SHORT_SECONDS if is_short else SECONDS) / 2


def _inputs(is_short: bool) -> None:
    _clip(is_short)


_STILLS = Comparison(
    name="stills",
    unit="pictures",
    count=_count,
    variants={
        "libavfilter": partial(_variant, libavfilter),
        "one_process": partial(_variant, partial(ours, processes=1)),
        "two_processes": partial(_variant, partial(ours, processes=2)),
    },
    tolerance=1.0,  # of 255
    inputs=_inputs,
)
CASE = Case("stills", (_STILLS,), short=(_STILLS,))
