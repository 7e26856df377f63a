"""Live streams: frames of a real RTSP server, its loss and return, the deadline, and a queue that is full."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from inference.errors import ProfilingError
from inference.profiling.frames.sources import SourceFrame
from inference.profiling.frames.streams import Losses, QueueReader, Waiting, open_reader, stream_frames
from inference.profiling.options import ProfileOptions
from inference.profiling.run import run_profile
from inference.profiling.steps.steps import TimedStep
from tests.fleet.processes import wait_until
from tests.media import write_clip
from tests.servers.rtsp import Camera, camera

Make = Callable[..., ProfileOptions]
FRAME = SourceFrame(np.zeros((2, 2, 3), np.uint8))


@pytest.fixture(scope="module")
def served_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("served") / "clip.mp4", 50)


@pytest.fixture
def running_camera(served_clip: Path) -> Iterator[Camera]:
    with camera(served_clip) as running:
        yield running


def test_a_profile_outlives_a_lost_stream_and_says_what_was_lost(
    running_camera: Camera, options: Make, tmp_path: Path
) -> None:
    def break_off(step: TimedStep) -> None:
        if step.index == 5:
            running_camera.break_off(refusing=2)

    result = run_profile(options(input_path=running_camera.url, max_steps=40, batch_size=2), tmp_path, break_off)
    assert running_camera.refusals == 2
    assert len(result.steps) == 41
    (outage,) = result.outages_seconds
    assert outage > 0.5  # two pauses: 0.25 and 0.5 s
    assert result.summary.lost_frames >= round(outage * 25)
    assert result.summary.stages["wait"].mean > 0
    assert result.summary.queue_age_ms is not None
    assert result.summary.sum_error < 0.02


def test_a_stream_that_stays_away_ends_the_profile_at_the_deadline(
    running_camera: Camera, options: Make, tmp_path: Path
) -> None:
    def break_off(step: TimedStep) -> None:
        if step.index == 2:
            running_camera.break_off(refusing=1000)

    lasting = options(input_path=running_camera.url, max_steps=10_000, batch_size=2, reconnect_seconds=1.0)
    with pytest.raises(ProfilingError, match=r"has sent no frame for \d s .*--reconnect-seconds \(now 1\)"):
        run_profile(lasting, tmp_path, break_off)
    (path,) = tmp_path.glob("*_metrics.csv")
    assert len(path.read_text().splitlines()) > 3


def test_pauses_double_up_to_the_longest_and_end_at_the_deadline() -> None:
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    def refuse() -> None:
        raise av.error.ConnectionRefusedError(111, "Connection refused")

    frames = stream_frames(refuse, "camera", Losses(), Waiting(30.0, clock=lambda: now[0], sleep=sleep))
    with pytest.raises(ProfilingError, match="camera has sent no frame"):
        next(frames)
    assert pauses[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert 25 < sum(pauses) <= 30


def test_an_address_that_does_not_answer_is_told_at_once() -> None:
    with pytest.raises(ProfilingError, match=r"rtsp://127\.0\.0\.1:9/none cannot be opened .*check the address"):
        open_reader("rtsp://127.0.0.1:9/none", reconnect_seconds=30.0, is_read_ahead=False)


def test_a_full_queue_of_a_live_stream_drops_its_oldest_frames_and_counts_them() -> None:
    allowed = threading.Event()

    def frames() -> Iterator[SourceFrame]:
        for number in range(100):
            yield SourceFrame(np.full((2, 2, 3), number, np.uint8))
        allowed.wait()

    reader = QueueReader(frames(), "burst", is_dropping=True)
    wait_until(lambda: reader.losses.dropped_frames == 36, "100 frames into a queue of 64")
    reading = reader.read(1)
    assert reading.frames[0].pixels[0, 0, 0] == 36
    assert reading.lost_frames == 36
    allowed.set()
    reader.close()


def test_a_file_behind_http_is_read_as_a_file(served_clip: Path, options: Make, tmp_path: Path) -> None:
    handler = partial(QuietHandler, directory=str(served_clip.parent))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/clip.mp4"
        result = run_profile(options(input_path=url, max_steps=30, batch_size=2), tmp_path)
        server.shutdown()
    assert len(result.steps) == 31
    assert result.summary.lost_frames == 0


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_a_camera_behind_http_that_never_ends_is_a_live_stream(options: Make, tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(picture, "jpeg")

    class Camera(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=frame")
            self.end_headers()
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % picture.tell()
            with suppress(OSError):  # the client has gone
                while not ended.wait(0.01):
                    self.wfile.write(part + picture.getvalue() + b"\r\n")

    ended = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/stream"
        result = run_profile(options(input_path=url, max_steps=5), tmp_path)
        ended.set()
        server.shutdown()
    assert len(result.steps) == 6
    assert result.summary.queue_age_ms is not None
