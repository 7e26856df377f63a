"""Boxes of abnormal regions, by an Ultralytics YOLOv8. The only importer of ``ultralytics`` (AGPL-3.0, optional).

Its network class and its suppression function are used alone: its predictor keeps state, downloads and reports home.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.decode.frames.fit import Placement, placement
from inference.errors import BadVideo, VideoFault
from inference.manifest.schema import DetectorSpec
from inference.models.faults import device_faults
from inference.types import Clip, DecodedVideo, Detection, Picture, VideoProbe

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels

BATCH_FRAMES = 16  # frames per forward pass
PATIENCE_SECONDS = 60.0  # per frame: by default the suppression silently drops boxes when the machine is slow


def _silence_ultralytics() -> None:
    """Set what ultralytics reads from the environment when it is imported; it has no other way to be told."""
    directory = tempfile.mkdtemp(prefix="tamis-ultralytics-")  # it writes a settings file somewhere
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["YOLO_CONFIG_DIR"] = directory
    os.environ["YOLO_OFFLINE"] = "true"  # no events, no online check
    os.environ["YOLO_AUTOINSTALL"] = "false"  # never run pip
    os.environ["YOLO_VERBOSE"] = "false"  # nothing on stdout
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # else it sets 1 for this process and its children
    os.environ["ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS"] = "1"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"


_silence_ultralytics()
torch_save = torch.save

import ultralytics  # noqa: E402 - after its environment is set
from ultralytics.nn.tasks import DetectionModel  # noqa: E402 - as above
from ultralytics.utils import YAML  # noqa: E402 - as above
from ultralytics.utils.nms import non_max_suppression  # noqa: E402 - as above

torch.save = torch_save  # importing ultralytics replaces it for the whole process
logging.getLogger("ultralytics").handlers.clear()  # ours decide where lines go
logging.getLogger("ultralytics").propagate = True


def build_network(spec: DetectorSpec) -> nn.Module:
    """The architecture of ``spec`` from the package's own description, in evaluation mode, weights not yet set."""
    description = YAML.load(Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8.yaml")
    network: nn.Module = DetectionModel(
        {**description, "scale": spec.architecture[-1]}, ch=3, nc=len(spec.labels), verbose=False
    )
    return network.eval()


def prime_biases(network: Any) -> None:  # a DetectionModel, which has no types
    """Give the last layer the biases training starts from; with seeded ones every cell would be a box."""
    network.model[-1].bias_init()


class Detector:
    """One warm network. Not to be used by two threads at once: it caches its grid between calls."""

    def __init__(
        self,
        network: nn.Module,
        spec: DetectorSpec,
        device: torch.device,
        dtype: torch.dtype,
        *,
        batch_frames: int = BATCH_FRAMES,
    ) -> None:
        self._network = network.to(device=device, dtype=dtype)
        self._spec = spec
        self._device = device
        self._dtype = dtype
        self._batch_frames = batch_frames

    def detect(self, decoded: DecodedVideo, clip: Clip) -> list[Detection]:
        """Boxes on the clip's frames, in pixels of the source picture, in order of frames and falling score.

        Raises:
            BadVideo: the network's answer is not finite.
            Transient: the device's memory is full.
            DeviceLost: the device failed.
        """
        picture = decoded.pictures[clip.request.picture]
        probe = decoded.probe
        placed = placement(clip.request.picture, probe.width, probe.height)
        with device_faults(), torch.inference_mode():
            frames = list(self._boxes(picture, clip))
        return [
            Detection(pts_seconds, self._spec.labels[int(label)], score, to_source((x1, y1, x2, y2), placed, probe))
            for pts_seconds, boxes in frames
            for x1, y1, x2, y2, score, label in boxes.tolist()
        ]

    def warm_up(self) -> None:
        """Run one full batch, so that no video pays for the first call."""
        side = self._spec.size
        count = min(self._batch_frames, self._spec.max_frames)
        with device_faults(), torch.inference_mode():
            self._predict(torch.zeros((count, side, side, 3), dtype=torch.uint8))

    def _boxes(self, picture: Picture, clip: Clip) -> Iterator[tuple[float, Tensor]]:
        """Per frame: its time and ``(boxes, 6)``: x1, y1, x2, y2, score, class."""
        for start in range(0, len(clip.indices), self._batch_frames):
            chosen = clip.indices[start : start + self._batch_frames]
            found = self._predict(torch.from_numpy(picture.frames[chosen]))
            yield from zip(picture.pts_seconds[chosen].tolist(), found, strict=True)

    def _predict(self, frames: Tensor) -> list[Tensor]:
        pixels = frames.to(self._device).permute(0, 3, 1, 2).to(self._dtype) / 255
        answer = self._network(pixels)[0].float()  # (frames, 4 + labels, cells)
        if not bool(answer.isfinite().all()):
            raise BadVideo(VideoFault.SCORES_NOT_FINITE, "the detector's scores are not finite on this video")
        boxes: list[Tensor] = non_max_suppression(
            answer,
            conf_thres=self._spec.confidence,
            iou_thres=self._spec.iou,
            max_det=self._spec.max_boxes,
            nc=len(self._spec.labels),
            max_time_img=PATIENCE_SECONDS,
        )
        return [box.cpu() for box in boxes]


def to_source(box: Box, placed: Placement, probe: VideoProbe) -> Box:
    """Map a frame's ``box`` to pixels of the upright source picture, clipped to it."""
    across, down = probe.width / placed.width, probe.height / placed.height
    x1, x2 = (min(max((x - placed.left) * across, 0.0), float(probe.width)) for x in (box[0], box[2]))
    y1, y2 = (min(max((y - placed.top) * down, 0.0), float(probe.height)) for y in (box[1], box[3]))
    return x1, y1, x2, y2
