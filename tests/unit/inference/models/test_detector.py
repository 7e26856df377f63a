from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.decode.frames.fit import place, placement
from inference.errors import BadVideo
from inference.models.checkpoint import fill_from_seed
from inference.models.detector import Detector, build_network, claim_directory, prime_biases, to_source
from inference.types import Clip, ClipRequest, DecodedVideo, Fit, Picture, PictureSpec, Scope, VideoProbe

SIZE = 64
SPEC = PictureSpec(SIZE, SIZE, Fit.LETTERBOX)


@pytest.fixture(scope="module")
def spec(tiny):
    return tiny.detector.model_copy(update={"size": SIZE, "confidence": 0.0001, "max_boxes": 5})


@pytest.fixture(scope="module")
def network(spec):
    built = build_network(spec)
    fill_from_seed(built, 21)
    prime_biases(built)
    return built


def video(frames: np.ndarray, width: int = 640, height: int = 360) -> tuple[DecodedVideo, Clip]:
    count = len(frames)
    clip = Clip(ClipRequest(Scope.SAMPLED, SPEC, count), 0.0, float(count), np.arange(count))
    probe = VideoProbe("mp4", "h264", width, height, 0, count, float(count), 1)
    return DecodedVideo(probe, {SPEC: Picture(frames, np.arange(count) / 2)}, (clip,), 1.0, {}), clip


def noise(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_boxes_have_a_label_a_score_a_time_and_lie_inside_the_source_picture(network, spec):
    found = Detector(network, spec, torch.device("cpu"), torch.float32).detect(*video(noise()))
    assert found
    assert {one.label for one in found} <= set(spec.labels)
    assert {one.pts_seconds for one in found} <= {0.0, 0.5, 1.0}
    for one in found:
        x1, y1, x2, y2 = one.box
        assert 0 <= x1 <= x2 <= 640
        assert 0 <= y1 <= y2 <= 360
        assert 0 < one.score < 1


def test_frames_give_the_same_boxes_alone_and_in_a_batch(network, spec):
    detector = Detector(network, spec, torch.device("cpu"), torch.float32, batch_frames=2)
    frames = noise(3)
    alone = [one for number in range(3) for one in detector.detect(*video(frames[number : number + 1]))]
    together = detector.detect(*video(frames))
    assert [one.label for one in together] == [one.label for one in alone]
    np.testing.assert_allclose([one.box for one in together], [one.box for one in alone], atol=0.1)


def test_an_untrained_detector_finds_no_box_at_the_manifests_confidence(network, spec):
    quiet = spec.model_copy(update={"confidence": 0.25})
    assert Detector(network, quiet, torch.device("cpu"), torch.float32).detect(*video(noise())) == []


@pytest.mark.parametrize(("has_gpu", "sizes"), [(True, [1, 2, 3]), (False, [3])])
def test_the_warm_up_runs_every_batch_that_can_occur_on_a_gpu_and_logs_each(
    network, spec, monkeypatch, caplog, has_gpu, sizes
):
    monkeypatch.setattr("inference.models.detector.is_gpu", lambda _device: has_gpu)
    caplog.set_level("INFO")
    Detector(network, spec, torch.device("cpu"), torch.float32, batch_frames=3).warm_up()
    warmed = [record.args[1] for record in caplog.records if "the first batch of" in record.msg]
    assert warmed == sizes


class BoxAt(torch.nn.Module):
    """Returns one fixed box, centre and size in frame pixels, on every frame."""

    def __init__(self, x: float, y: float, width: float, height: float, score: float = 0.9) -> None:
        super().__init__()
        self.answer = torch.tensor([x, y, width, height, 0.0, score, 0.0])

    def forward(self, frames):
        cells = torch.zeros(len(frames), 7, 10)
        cells[:, :, 4] = self.answer
        return cells, None


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (333, 517), (32, 32), (1920, 1)])
def test_a_box_in_a_letterboxed_frame_is_mapped_to_its_place_in_the_source(spec, size):
    width, height = size
    placed = placement(SPEC, width, height)
    mark = (placed.left, placed.top, placed.left + placed.width / 2, placed.top + placed.height)  # the left half
    x1, y1, x2, y2 = mark
    network = BoxAt((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    (found,) = Detector(network, spec, torch.device("cpu"), torch.float32).detect(*video(noise(1), width, height))
    assert found.label == "subtitle"
    np.testing.assert_allclose(found.box, (0, 0, width / 2, height), atol=0.01)


def test_a_box_around_painted_pixels_is_mapped_to_their_place_in_the_source():
    scaled = np.zeros((36, 64, 3), dtype=np.uint8)  # 640 x 360 scaled by a tenth
    scaled[9:18, 16:32] = 255
    canvas = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    placed = placement(SPEC, 640, 360)
    place(scaled, placed, canvas)
    rows, columns = np.nonzero((canvas == 255).all(axis=2))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    probe = VideoProbe("mp4", "h264", 640, 360, 0, 1, 1.0, 1)
    assert to_source(tuple(map(float, box)), placed, probe) == (160, 90, 320, 180)


def test_a_box_in_the_padding_is_clipped_to_the_picture(spec):
    network = BoxAt(SIZE / 2, SIZE / 2, SIZE * 2, SIZE * 2)
    (found,) = Detector(network, spec, torch.device("cpu"), torch.float32).detect(*video(noise(1)))
    assert found.box == (0, 0, 640, 360)


def test_scores_that_are_not_finite_are_a_bad_video(spec):
    detector = Detector(BoxAt(1, 1, 1, 1, float("nan")), spec, torch.device("cpu"), torch.float32)
    with pytest.raises(BadVideo) as caught:
        detector.detect(*video(noise(1)))
    assert caught.value.code == "scores_not_finite"


def test_a_video_without_sampled_frames_has_no_boxes(network, spec):
    decoded, clip = video(noise(1))
    detector = Detector(network, spec, torch.device("cpu"), torch.float32)
    assert detector.detect(decoded, replace(clip, indices=np.arange(0))) == []


def test_the_detector_is_yolov8n_of_three_million_parameters(network):
    assert sum(one.numel() for one in network.parameters()) == pytest.approx(3.01e6, rel=0.01)


def test_importing_the_detector_prints_nothing_connects_nowhere_and_changes_no_torch_setting(tmp_path):
    program = (
        "import torch, sys\n"
        "threads, save = torch.get_num_threads(), torch.save\n"
        "def refuse(event, _):\n"
        "    assert not event.startswith(('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen')), event\n"
        "sys.addaudithook(refuse)\n"
        "import inference.models.detector\n"
        "assert torch.save is save and torch.get_num_threads() == threads\n"
    )
    home = {**os.environ, "HOME": str(tmp_path)}
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=home)
    assert (other.returncode, other.stdout, other.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_directory_of_a_killed_process_is_removed_at_the_next_start_and_that_of_a_living_one_is_kept(tmp_path):
    living = claim_directory(tmp_path)
    killed = "import os, signal, inference.models.detector; os.kill(os.getpid(), signal.SIGKILL)"
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    other = subprocess.run([sys.executable, "-c", killed], check=False, env=environ)
    assert other.returncode == -signal.SIGKILL
    (left,) = set(tmp_path.glob("tamis-ultralytics-*")) - {living}
    own = claim_directory(tmp_path)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([living, own])
