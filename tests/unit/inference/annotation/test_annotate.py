"""Annotation: boxes at their place, COCO beside the copies, resumed where it was left, real detectors of both kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel

from inference.annotation.annotate import Annotation, annotate_file, pending_files
from inference.annotation.detectors import Box, BoxDetector, open_detector
from inference.errors import InferenceError, ProfilingError
from inference.profiling.frames.sources import decode_frames
from tasks.cli.videos.annotate import annotate
from tests.media import write_clip

CPU = torch.device("cpu")
LABELS = ("nothing", "square")


def find_square(pictures: Sequence[Tensor], threshold: float) -> list[list[Box]]:
    """A detector of one white square on black, exact by construction."""
    return [[box] if box.score >= threshold else [] for box in map(_bounds, pictures)]


def _bounds(picture: Tensor) -> Box:
    rows, columns = (picture.float().mean(0) > 128).nonzero(as_tuple=True)
    return Box((float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)), 1, 0.9)


SQUARES = BoxDetector("squares", LABELS, find_square)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "below").mkdir(parents=True)
    Image.fromarray(square(0)).save(root / "still.png")
    write_clip(root / "below" / "clip.mp4", 6, paint=square)
    return root


def square(number: int) -> np.ndarray:
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[30:50, 40 + 4 * number : 70 + 4 * number] = 255
    return frame


def annotate_all(source: Path, target: Path, annotation: Annotation) -> list[str]:
    pending = pending_files(source, target, annotation)
    for path in pending:
        annotate_file(path, source, target, annotation)
    return [path.name for path in pending]


def coco(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_boxes_stand_in_coco_and_are_drawn_into_the_copy(source: Path, tmp_path: Path) -> None:
    annotate_all(source, tmp_path / "out", Annotation(SQUARES, 0.7))
    found = coco(tmp_path / "out" / "still.png.json")
    assert found["images"] == [{"id": 0, "file_name": "still.png", "frame": 0, "width": 128, "height": 96}]
    (box,) = found["annotations"]
    assert (box["bbox"], box["area"], box["category_id"], box["score"]) == ([40.0, 30.0, 30.0, 20.0], 600.0, 1, 0.9)
    assert found["categories"] == [{"id": 0, "name": "nothing"}, {"id": 1, "name": "square"}]
    with Image.open(tmp_path / "out" / "still.png") as drawn:
        changed = np.abs(np.asarray(drawn).astype(int) - square(0)).max(2) > 0
    assert changed[30, 40:70].all()
    assert not changed[60:].any()


def test_a_video_becomes_a_video_with_the_boxes_of_each_frame(source: Path, tmp_path: Path) -> None:
    annotate_all(source, tmp_path / "out", Annotation(SQUARES, 0.7, every=2))
    found = coco(tmp_path / "out" / "below" / "clip.mp4.json")
    assert [image["frame"] for image in found["images"]] == [0, 2, 4]
    lefts = [box["bbox"][0] for box in found["annotations"]]
    assert lefts == pytest.approx([40, 48, 56], abs=1)
    assert len(list(decode_frames(tmp_path / "out" / "below" / "clip.mp4"))) == 3


def test_a_second_run_does_what_is_missing_and_what_was_made_otherwise(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert annotate_all(source, target, Annotation(SQUARES, 0.7)) == ["clip.mp4", "still.png"]
    assert annotate_all(source, target, Annotation(SQUARES, 0.7)) == []
    (target / "still.png.json").unlink()
    assert annotate_all(source, target, Annotation(SQUARES, 0.7)) == ["still.png"]
    assert annotate_all(source, target, Annotation(SQUARES, 0.95)) == ["clip.mp4", "still.png"]
    assert coco(target / "still.png.json")["annotations"] == []


def test_an_output_inside_the_input_is_refused(source: Path) -> None:
    with pytest.raises(ProfilingError, match="lies inside the input"):
        pending_files(source, source / "out", Annotation(SQUARES, 0.7))


def test_a_torchvision_detector_finds_boxes_inside_the_picture(source: Path) -> None:
    detector = open_detector("ssdlite320_mobilenet_v3_large", "none", CPU)
    (found,) = detector.find([torch.from_numpy(square(0)).permute(2, 0, 1)], 0.0)
    assert found
    assert all(0 <= x1 <= x2 <= 128 and 0 <= y1 <= y2 <= 96 for x1, y1, x2, y2 in (box.sides for box in found))
    assert len(detector.labels) == 91


def test_the_weights_of_a_yolo_are_read_with_their_labels(tmp_path: Path) -> None:
    network = DetectionModel("yolov8n.yaml", ch=3, nc=2, verbose=False)
    network.names = {0: "logo", 1: "border"}
    torch.save({"model": network}, tmp_path / "mine.pt")
    detector = open_detector(str(tmp_path / "mine.pt"), "default", CPU)
    assert detector.labels == ["logo", "border"]
    (found,) = detector.find([torch.randint(0, 256, (3, 90, 160), dtype=torch.uint8)], 1e-6)
    assert all(0 <= x1 <= x2 <= 160 and 0 <= y1 <= y2 <= 90 for x1, y1, x2, y2 in (box.sides for box in found))


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("resnet50", "none", "no detector"),
        ("yolov8n", "default", "needs its weights"),
        ("absent.pt", "default", "no such file"),
    ],
)
def test_what_is_no_detector_is_refused_with_the_remedy(name: str, weights: str, said: str) -> None:
    with pytest.raises(InferenceError, match=said):
        open_detector(name, weights, CPU)


def test_a_file_that_is_no_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path: Path) -> None:
    torch.save({"model": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(InferenceError, match=r"trap\.pt is no detector checkpoint"):
        open_detector(str(tmp_path / "trap.pt"), "default", CPU)
    assert not Trap.was_opened


class Trap:
    was_opened = False

    def __setstate__(self, _state: object) -> None:
        Trap.was_opened = True


def test_the_command_annotates_a_directory_and_names_the_files_that_failed(source: Path, tmp_path: Path) -> None:
    (source / "broken.mp4").write_text("no video")
    words = ["-i", str(source), "-o", str(tmp_path / "out"), "--model_name", "ssdlite320_mobilenet_v3_large"]
    ended = CliRunner().invoke(annotate, [*words, "--weights", "none", "--threshold", "0.9", "--every", "3"])
    assert ended.exit_code == 2
    assert "2 files annotated, 0 boxes" in ended.output
    assert "1 files failed" in ended.output
    assert "broken.mp4" in ended.output.splitlines()[-1]
