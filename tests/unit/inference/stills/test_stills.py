"""Pictures of whole files: exact, in order, none twice or missing at the seams, whatever the number of processes."""

from __future__ import annotations

import doctest
import hashlib
import http.server
import threading
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from inference.decode.decoders.pyav import PyAv
from inference.decode.one_pass import with_timeline
from inference.decode.options import DecodeLimits
from inference.errors import BadVideo
from inference.stills import selection
from inference.stills.live import is_live, write_live_stills
from inference.stills.parts import StillTarget, write_part
from inference.stills.pictures import StillFormat, StillSize
from inference.stills.selection import StillChoice, change
from inference.stills.survey import StillPart, split, survey
from inference.stills.write import write_stills
from tests.media import number_on, write_clip
from tests.video_files import FILES

LIMITS = DecodeLimits()
EVERY = StillChoice(every=1)


def target(directory: Path, still_format=StillFormat.PNG, size=None) -> StillTarget:
    directory.mkdir(exist_ok=True)
    return StillTarget(directory, "shot_", still_format, size)


def written(path, choice, place, processes=1):
    return write_stills(path, choice, place, processes, LIMITS)


def in_parts(path, choice, place, parts):
    """As :func:`write_stills`, but one part after the other in this process."""

    def write(timeline):
        surveyed = survey(str(path), timeline, LIMITS)
        wanted = selection.chosen_frames(choice, timeline.pts_seconds)
        pictures, number = [], 1
        for part in split(surveyed, wanted, parts):
            pictures += write_part(str(path), timeline, part, number, place, LIMITS)
            number += len(part.wanted)
        return pictures

    return with_timeline(PyAv(), str(path), LIMITS, write)


def pixels(path):
    with av.open(str(path)) as opened:
        return next(opened.decode(video=0)).to_ndarray(format="rgb24")


def digests(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_the_worked_examples_in_the_docstrings_hold():
    assert doctest.testmod(selection, extraglobs={"np": np}).failed == 0


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "long.mp4", 200)


@pytest.mark.parametrize(
    "name",
    [
        *("closed-gop.mp4", "open-gop.mp4", "edit-list.mp4", "vfr.mp4", "h264.mkv", "stream.ts", "hevc.mp4"),
        *("vp9.webm", "h264.avi", "elementary.h264", "mpeg4.avi", "rotated-90.mp4", "fragmented.mp4", "joined-late.ts"),
    ],
)
def test_four_parts_show_every_frame_once_and_in_order_as_one_part_does(name, tmp_path):
    file = FILES[name]
    file.make(tmp_path / name)
    whole = in_parts(tmp_path / name, EVERY, target(tmp_path / "one"), 1)
    in_parts(tmp_path / name, EVERY, target(tmp_path / "four"), 4)
    assert [number_on(pixels(path)) for path in whole] == list(file.shown)
    assert digests(tmp_path / "four") == digests(tmp_path / "one")


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_write_the_files_of_one(processes, long_clip, tmp_path):
    choice = StillChoice(frames_per_second=5)
    alone = written(long_clip, choice, target(tmp_path / "one"))
    assert written(long_clip, choice, target(tmp_path / "many"), processes) == [
        tmp_path / "many" / path.name for path in alone
    ]
    assert digests(tmp_path / "many") == digests(tmp_path / "one")
    assert alone[0].name == "shot_000001_0.000s.png"
    assert alone[-1].name == "shot_000040_7.800s.png"
    assert [number_on(pixels(path)) for path in alone] == list(range(0, 200, 5))


def test_a_video_with_many_entries_is_split_into_as_many_parts_as_processes(long_clip):
    surveyed = survey(str(long_clip), PyAv().probe(str(long_clip), LIMITS), LIMITS)
    parts = split(surveyed, np.arange(200), 4)
    assert len(parts) == 4
    assert np.concatenate([part.wanted for part in parts]).tolist() == list(range(200))
    assert parts[0].entry is None
    assert all(part.entry is not None and part.entry.position == part.wanted[0] for part in parts[1:])


def test_where_the_file_does_not_lead_to_the_entry_decoding_begins_at_the_start(long_clip, tmp_path):
    surveyed = survey(str(long_clip), PyAv().probe(str(long_clip), LIMITS), LIMITS)
    wrong = surveyed.entries[5].__class__(60, pts=-5, dts=surveyed.entries[5].dts)
    (path,) = write_part(
        str(long_clip), surveyed.timeline, StillPart(np.array([70]), wrong), 1, target(tmp_path / "out"), LIMITS
    )
    assert number_on(pixels(path)) == 70


@pytest.mark.parametrize(("still_format", "tolerance"), [(StillFormat.JPG, 8), (StillFormat.WEBP, 8)])
def test_lossy_formats_are_close_to_the_frame(still_format, tolerance, long_clip, tmp_path):
    choice = StillChoice(every=150)
    exact = written(long_clip, choice, target(tmp_path / "png"))
    lossy = written(long_clip, choice, target(tmp_path / "lossy", still_format))
    for one, other in zip(exact, lossy, strict=True):
        assert other.suffix == f".{still_format}"
        assert np.abs(pixels(one).astype(int) - pixels(other)).mean() < tolerance


@pytest.mark.parametrize(
    ("size", "shape"), [(StillSize(64), (48, 64, 3)), (StillSize(50, 50), (50, 50, 3)), (None, (96, 128, 3))]
)
def test_a_size_scales_and_a_width_alone_keeps_the_aspect_ratio(size, shape, long_clip, tmp_path):
    (path,) = written(long_clip, StillChoice(every=1000), target(tmp_path / "out", size=size))
    assert pixels(path).shape == shape


def scenes(number):
    """Three scenes of 40 frames, each of one colour with a little movement."""
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[:] = [(200, 30, 30), (220, 220, 220), (10, 10, 90)][min(2, number // 40)]
    frame[:10, : 1 + number % 40] += 20
    return frame


@pytest.mark.parametrize("processes", [1, 3])
def test_scenes_begin_at_their_first_frame_also_at_a_seam(processes, tmp_path):
    clip = write_clip(tmp_path / "scenes.mp4", 120, paint=scenes)  # a key frame every 12 frames
    found = written(clip, StillChoice(is_by_scene=True), target(tmp_path / "out"), processes)
    assert [path.name for path in found] == [
        "shot_000001_0.000s.png",
        "shot_000002_1.600s.png",
        "shot_000003_3.200s.png",
    ]


def test_change_is_that_of_hue_saturation_and_value():
    grey, red = np.full((2, 2, 3), 100, np.uint8), np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 100
    assert change(grey, grey) == 0
    assert change(grey, red) == pytest.approx(255 / 3)  # the saturation alone
    green = np.zeros((2, 2, 3), np.uint8)
    green[..., 1] = 100
    assert change(red, green) == pytest.approx(60 / 3)  # the hue: 120 degrees


def test_what_is_no_video_is_a_bad_video(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(BadVideo):
        written(tmp_path / "bad.mp4", EVERY, target(tmp_path / "out"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


@pytest.fixture
def stream_url(tmp_path):
    write_clip(tmp_path / "stream.ts", 100)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stream.ts"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stream_gives_frames_until_the_seconds_are_over(stream_url, tmp_path):
    assert is_live(stream_url)
    place = target(tmp_path / "out")
    found = list(write_live_stills(stream_url, StillChoice(frames_per_second=2.5), place, 2.0))
    assert [number_on(pixels(path)) for path in found] == [0, 10, 20, 30, 40]
    every = list(write_live_stills(stream_url, StillChoice(every=20), target(tmp_path / "every"), 2.0))
    assert [number_on(pixels(path)) for path in every] == [0, 20, 40]


def test_a_stream_that_cannot_be_read_is_a_bad_video(tmp_path):
    with pytest.raises(BadVideo, match="cannot be read"):
        list(write_live_stills("http://127.0.0.1:1/none.ts", EVERY, target(tmp_path / "out"), 1.0))
