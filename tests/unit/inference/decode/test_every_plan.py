"""Every plan picks exactly the frames that a plain decode of the whole file gives, for every sound file."""

from __future__ import annotations

import os

import av
import numpy as np
import pytest

from inference.decode.decoders.pyav import PyAv
from inference.decode.frames import sampling
from inference.decode.frames.shared_frames import map_pictures
from inference.decode.one_pass import decode_once
from inference.decode.options import DecodeLimits
from inference.types import ClipRequest, DecodePlan, PictureSpec, Scope
from tests.media import FPS, number_on, numbers_on
from tests.video_files import FURTHER, SOUND

FILES = SOUND | FURTHER
SMALL = PictureSpec(48, 64)
LIMITS = DecodeLimits()
WINDOWS = ClipRequest(Scope.WINDOWS, SMALL, 16)
SAMPLED = ClipRequest(Scope.SAMPLED, SMALL, 8, interval_seconds=0.5)
EVERY_FRAME = ClipRequest(Scope.WINDOWS, SMALL, 400, window_seconds=1000.0)
BURSTS = ClipRequest(Scope.BURSTS, SMALL, 5, interval_seconds=0.5)
WHOLE = [ClipRequest(Scope.WHOLE, SMALL, count) for count in (1, 3, 7, 16, 48)]
REQUESTS = [*WHOLE, WINDOWS, SAMPLED, BURSTS, EVERY_FRAME]


def clips_of(path, request):
    """Return the video's properties, and for each clip its start, its end and the numbers on its frames."""
    decoded, descriptor = decode_once(PyAv(), str(path), path.stat().st_size, DecodePlan((request,)), LIMITS)
    frames = map_pictures(descriptor, decoded.layout)[SMALL]
    os.close(descriptor)
    assert decoded.decoded_fraction == 1.0
    return decoded.probe, [(c.start_seconds, c.end_seconds, numbers_on(frames[c.indices])) for c in decoded.clips]


def expected_clips(file, seconds, duration_seconds, request):
    shown = np.array(file.shown)
    if request.scope is Scope.WINDOWS:
        spans = sampling.windows(duration_seconds, request.window_seconds, request.overlap_seconds)
        chosen = [sampling.window_frames(seconds, start, end, request.num_frames) for start, end in spans]
    elif request.scope is Scope.SAMPLED:
        chosen = [sampling.sampled(seconds, request.interval_seconds, request.num_frames)]
    elif request.scope is Scope.BURSTS:
        chosen = sampling.bursts(seconds, request.num_frames, request.interval_seconds)
    else:
        chosen = [sampling.uniform(len(shown), request.num_frames)]
    return [shown[indices].tolist() for indices in chosen]


def plainly_decoded(path):
    """Return the numbers on all frames that FFmpeg emits, without picking, skipping or timestamps."""
    with av.open(str(path)) as opened:
        return [number_on(frame.to_ndarray(format="rgb24")) for frame in opened.decode(video=0)]


def packet_bytes(path):
    """Return the bytes of the video packets, as FFmpeg demuxes them."""
    with av.open(str(path)) as opened:
        return sum(packet.size for packet in opened.demux(video=0))


@pytest.mark.parametrize("name", FILES)
def test_every_plan_picks_the_frames_of_a_plain_decode(tmp_path, name):
    path, file = tmp_path / name, FILES[name]
    file.make(path)
    if not name.startswith(("rotated", "mirrored")):  # a plain decode does not turn pictures
        assert plainly_decoded(path) == list(file.shown)
    milliseconds = file.pts_milliseconds or [1000 * n / FPS for n in range(len(file.shown))]
    for request in REQUESTS:
        probe, clips = clips_of(path, request)
        assert probe.frame_count == len(file.shown)
        assert probe.is_interlaced == name.startswith("field")
        assert sum(probe.packets.bytes_per_second) == packet_bytes(path)
        assert sum(probe.packets.frames_per_second) == probe.frame_count
        expected = expected_clips(file, np.array(milliseconds) / 1000, probe.duration_seconds, request)
        assert [numbers for _, _, numbers in clips] == expected, request
