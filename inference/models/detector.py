"""Detection of abnormal regions with an Ultralytics YOLOv8; the only importer of ``ultralytics`` (AGPL-3.0, optional).

Only its network class and its box suppression are used: its predictor keeps state, downloads files and sends events.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from inference.decode.frames.fit import Placement, placement
from inference.errors import BadVideo, ManifestError, VideoFault
from inference.manifest.schema import DetectorSpec
from inference.models.device import device_faults, is_gpu
from inference.types import Clip, DecodedVideo, Detection, Picture, VideoProbe

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels

BATCH_FRAMES = 16  # frames per forward pass
SUPPRESSION_SECONDS = 60.0  # per frame: by default the suppression silently drops boxes when the machine is slow
DIRECTORY_PREFIX = "tamis-ultralytics-"


def claim_directory(parent: Path) -> Path:
    """Make a directory under ``parent`` for this process, and remove those of processes that were killed.

    A process holds a lock on its directory until it ends, however it ends: a directory without a lock has no owner.
    """
    for path in parent.glob(f"{DIRECTORY_PREFIX}*"):
        _remove_if_abandoned(path)
    while True:
        path = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=parent))
        fcntl.flock(os.open(path, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)  # open until the process ends
        if path.exists():  # else another process took it for abandoned before it was locked
            atexit.register(shutil.rmtree, path, ignore_errors=True)
            return path


def _remove_if_abandoned(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # it is gone, or belongs to another user
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:  # its process is alive
        pass
    finally:
        os.close(descriptor)


def _silence_ultralytics() -> None:
    """Set the environment that ultralytics reads at its import; it has no other interface for these settings."""
    os.environ["YOLO_CONFIG_DIR"] = str(claim_directory(Path(tempfile.gettempdir())))  # for its settings file
    os.environ["YOLO_OFFLINE"] = "true"  # no events, no check for a connection
    os.environ["YOLO_AUTOINSTALL"] = "false"  # never run pip
    os.environ["YOLO_VERBOSE"] = "false"  # nothing on stdout
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # by default it sets 1, also for child processes
    os.environ["ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS"] = "1"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"


_silence_ultralytics()
torch_save = torch.save

import ultralytics  # noqa: E402 - after its environment is set
from ultralytics.nn.tasks import DetectionModel, load_checkpoint  # noqa: E402 - as above
from ultralytics.utils import YAML  # noqa: E402 - as above
from ultralytics.utils.nms import non_max_suppression  # noqa: E402 - as above

torch.save = torch_save  # importing ultralytics replaces it for the whole process
logging.getLogger("ultralytics").handlers.clear()  # the handlers of the application decide where lines go
logging.getLogger("ultralytics").propagate = True


def build_network(spec: DetectorSpec) -> nn.Module:
    """Build the architecture of ``spec`` from the package's file, in evaluation mode; its weights are not set."""
    description = YAML.load(Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8.yaml")
    network: nn.Module = DetectionModel(
        {**description, "scale": spec.architecture[-1]}, ch=3, nc=len(spec.labels), verbose=False
    )
    return network.eval()


def prime_biases(network: Any) -> None:  # a DetectionModel, which has no types
    """Set the last layer's biases to those at the start of training; seeded ones would make every cell a box."""
    network.model[-1].bias_init()


def open_checkpoint(path: Path) -> tuple[nn.Module, list[str]]:
    """Return the network of an Ultralytics ``.pt`` file and its labels. Only known classes are unpickled.

    Raises:
        ManifestError: the file is no such checkpoint.
    """
    try:
        network: Any = load_checkpoint(path)[0]
    except (TypeError, RuntimeError, KeyError, UnpicklingError) as error:
        raise ManifestError(f"{path} is no detector checkpoint of Ultralytics: {str(error).splitlines()[0]}") from error
    return network, [network.names[place] for place in sorted(network.names)]


def find_boxes(network: nn.Module, pixels: Tensor, confidence: float) -> list[Tensor]:
    """Per picture of ``pixels (pictures, 3, H, W)``: ``(boxes, 6)`` with x1, y1, x2, y2, score and class.

    Pixels are in 0..1, and both sides multiples of 32.
    """
    answer = network(pixels)[0].float()
    boxes: list[Tensor] = non_max_suppression(
        answer, conf_thres=confidence, nc=answer.shape[1] - 4, max_time_img=SUPPRESSION_SECONDS
    )
    return boxes


class Detector:
    """A network for boxes. Not thread-safe, because the network caches its grid between calls."""

    def __init__(
        self,
        network: nn.Module,
        spec: DetectorSpec,
        device: torch.device,
        dtype: torch.dtype,
        *,
        batch_frames: int = BATCH_FRAMES,
    ) -> None:
        self.network = network.to(device=device, dtype=dtype)
        self._spec = spec
        self._device = device
        self._dtype = dtype
        self._batch_frames = batch_frames

    def detect(self, decoded: DecodedVideo, clip: Clip) -> list[Detection]:
        """Boxes on the clip's frames, in pixels of the source picture, by frame, then by falling score.

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
        """Run a batch of every size that can occur, as first calls are slow; log the seconds of each.

        The last batch of a video may hold any number of frames, and a GPU's libraries choose kernels for each number;
        on a CPU a full batch is enough.
        """
        side, most = self._spec.size, min(self._batch_frames, self._spec.max_frames)
        for size in range(1, most + 1) if is_gpu(self._device) else [most]:
            started = time.monotonic()
            with device_faults(), torch.inference_mode():
                self._predict(torch.zeros((size, side, side, 3), dtype=torch.uint8))
            took = time.monotonic() - started
            logger.info("%s: the first batch of %d frames of %d px took %.2f s", *(self._spec.name, size, side, took))

    def _boxes(self, picture: Picture, clip: Clip) -> Iterator[tuple[float, Tensor]]:
        """Yield each frame's time in seconds and its boxes ``(boxes, 6)``: x1, y1, x2, y2, score, class."""
        for start in range(0, len(clip.indices), self._batch_frames):
            chosen = clip.indices[start : start + self._batch_frames]
            found = self._predict(torch.from_numpy(picture.frames[chosen]))
            yield from zip(picture.pts_seconds[chosen].tolist(), found, strict=True)

    def _predict(self, frames: Tensor) -> list[Tensor]:
        pixels = frames.to(self._device).permute(0, 3, 1, 2).to(self._dtype) / 255
        answer = self.network(pixels)[0].float()  # (frames, 4 + labels, cells)
        if not bool(answer.isfinite().all()):
            raise BadVideo(VideoFault.SCORES_NOT_FINITE, "the detector's scores are not finite on this video")
        boxes: list[Tensor] = non_max_suppression(
            answer,
            conf_thres=self._spec.confidence,
            iou_thres=self._spec.iou,
            max_det=self._spec.max_boxes,
            nc=len(self._spec.labels),
            max_time_img=SUPPRESSION_SECONDS,
        )
        return [box.cpu() for box in boxes]


def to_source(box: Box, placed: Placement, probe: VideoProbe) -> Box:
    """Map a frame's ``box`` to pixels of the upright source picture, clipped to it."""
    across, down = probe.width / placed.width, probe.height / placed.height
    x1, x2 = (min(max((x - placed.left) * across, 0.0), float(probe.width)) for x in (box[0], box[2]))
    y1, y2 = (min(max((y - placed.top) * down, 0.0), float(probe.height)) for y in (box[1], box[3]))
    return x1, y1, x2, y2
