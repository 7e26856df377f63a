"""Detectors for annotation: any of torchvision's, or the weights of a YOLO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from inference.errors import ProfilingError
from inference.profiling.steps.models import open_model

YOLO_SIZE, YOLO_STRIDE = (
    640,
    32,
)  # pixels: the longest side that a picture is scaled to, and what sides are multiples of
GREY = 114 / 255  # of the padding, as in training


@dataclass(frozen=True, slots=True)
class Box:
    """One detection, in pixels of the picture: left, top, right, bottom."""

    sides: tuple[float, float, float, float]
    category: int  # an index of the detector's labels
    score: float


FindBoxes = Callable[[Sequence[Tensor], float], list[list[Box]]]
"""Pictures ``(3, height, width)`` uint8 of any sizes and the lowest score -> the boxes of each, best first."""


@dataclass(frozen=True, slots=True)
class BoxDetector:
    """An opened detector."""

    name: str
    labels: Sequence[str]
    find: FindBoxes


def open_detector(name: str, weights: str, device: torch.device) -> BoxDetector:
    """Open a torchvision detector by its name, or a YOLO by the path of its ``.pt`` file (as name or as weights).

    Raises:
        ProfilingError: the name is unknown, or is no detector's, or the weights cannot be had.
        ManifestError: the file is no checkpoint of a YOLO.
    """
    for path in (name, weights):
        if path.endswith(".pt") and (path == name or name.startswith("yolo")):
            return _open_yolo(Path(path), device)
    if name.startswith("yolo"):
        raise ProfilingError(f"--model_name {name} needs its weights: --weights FILE.pt")
    return _open_torchvision(name, weights, device)


def _open_torchvision(name: str, weights: str, device: torch.device) -> BoxDetector:
    from torchvision.models import detection as detectors
    from torchvision.models import get_model_weights, list_models

    known = list_models(module=detectors)
    if name not in known:
        raise ProfilingError(f"{name!r} is no detector: give a YOLO's .pt file or one of {', '.join(known)}")
    module = open_model(name, weights).module.to(device)
    labels = list(get_model_weights(name))[-1].meta["categories"]

    def find(pictures: Sequence[Tensor], threshold: float) -> list[list[Box]]:
        with torch.inference_mode():
            answers = module([picture.to(device).float() / 255 for picture in pictures])
        return [_boxes_of(answer, threshold) for answer in answers]

    return BoxDetector(name, labels, find)


def _boxes_of(answer: dict[str, Tensor], threshold: float) -> list[Box]:
    rows = zip(answer["boxes"].tolist(), answer["labels"].tolist(), answer["scores"].tolist(), strict=True)
    return [Box((x1, y1, x2, y2), label, score) for (x1, y1, x2, y2), label, score in rows if score >= threshold]


def _open_yolo(path: Path, device: torch.device) -> BoxDetector:
    from inference.models.detector import find_boxes, open_checkpoint

    if not path.is_file():
        raise ProfilingError(f"weights {str(path)!r}: there is no such file")
    network, labels = open_checkpoint(path)
    network.to(device)

    def find(pictures: Sequence[Tensor], threshold: float) -> list[list[Box]]:
        return [_find_in(network, find_boxes, picture.to(device), threshold) for picture in pictures]

    return BoxDetector(path.stem, labels, find)


def _find_in(network: nn.Module, find_boxes: Any, picture: Tensor, threshold: float) -> list[Box]:
    """Boxes of one picture, scaled to the network's size and back."""
    height, width = picture.shape[1:]
    ratio = YOLO_SIZE / max(height, width)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    scaled = interpolate(picture[None].float() / 255, size=size, mode="bilinear", antialias=True)
    right, below = (-size[1] % YOLO_STRIDE, -size[0] % YOLO_STRIDE)
    with torch.inference_mode():
        (found,) = find_boxes(network, pad(scaled, (0, right, 0, below), value=GREY), threshold)
    return [
        Box(
            (
                min(max(x1 / ratio, 0.0), width),
                min(max(y1 / ratio, 0.0), height),
                min(max(x2 / ratio, 0.0), width),
                min(max(y2 / ratio, 0.0), height),
            ),
            int(label),
            score,
        )
        for x1, y1, x2, y2, score, label in found.tolist()
    ]
