"""Annotate one file: boxes drawn into a copy of it, and COCO JSON beside the copy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from inference.annotation.detectors import Box, BoxDetector
from inference.errors import ProfilingError
from inference.profiling.frames.sources import PICTURES, decode_frames, media_files
from inference.profiling.steps.preparation import to_tensors

LINE_PIXELS = 3
DIGITS = 2  # of a pixel


@dataclass(frozen=True, slots=True)
class Annotation:
    """The detector and the options of an annotation; a file that was made with others is made again."""

    detector: BoxDetector
    threshold: float
    every: int = 1  # of a video's frames, one in so many is looked at and kept

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ProfilingError(f"threshold = {self.threshold}: give a score from 0 to 1")
        if self.every < 1:
            raise ProfilingError(f"every = {self.every}: give at least 1")

    @property
    def info(self) -> dict[str, Any]:
        """COCO's ``info``."""
        return {"description": f"boxes of {self.detector.name}", "threshold": self.threshold, "every": self.every}


def pending_files(source: Path, target: Path, annotation: Annotation) -> list[Path]:
    """Files below ``source`` that have no finished annotation of this kind below ``target``.

    Raises:
        ProfilingError: there is nothing to annotate, or the target lies inside the source.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise ProfilingError(f"output {target} lies inside the input {source}: its files would be annotated, too")
    return [path for path in media_files(source) if not _is_done(coco_path(path, source, target), annotation)]


def coco_path(path: Path, source: Path, target: Path) -> Path:
    """Where the boxes of ``path`` go: its place below the source, with ``.json`` after its whole name."""
    relative = path.relative_to(source) if path != source else Path(path.name)
    return target / relative.with_name(f"{relative.name}.json")


def annotate_file(path: Path, source: Path, target: Path, annotation: Annotation) -> int:
    """Write the drawn copy, then its JSON file, which appears whole or not at all; return how many boxes there are.

    Raises:
        ProfilingError: the file cannot be decoded.
    """
    written = coco_path(path, source, target)
    written.parent.mkdir(parents=True, exist_ok=True)
    copy = written.with_suffix("")
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    drawn = _drawn(path, annotation, images, boxes)
    if path.suffix.lower() in PICTURES:
        for picture in drawn:
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(copy)
    else:
        _encode(drawn, copy if copy.suffix == ".mp4" else copy.with_name(f"{copy.name}.mp4"))
    content = {
        "info": annotation.info,
        "images": images,
        "annotations": boxes,
        "categories": [{"id": place, "name": name} for place, name in enumerate(annotation.detector.labels)],
    }
    unfinished = written.with_suffix(".partial")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.replace(written)
    return len(boxes)


def _is_done(path: Path, annotation: Annotation) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(content["info"] == annotation.info)


def _drawn(
    path: Path, annotation: Annotation, images: list[dict[str, Any]], boxes: list[dict[str, Any]]
) -> Iterator[Tensor]:
    """Yield frames ``(3, height, width)`` with their boxes drawn; fill the COCO entries on the way."""
    for place, frame in enumerate(decode_frames(path)):
        if place % annotation.every:
            continue
        (picture,) = to_tensors([frame.pixels])
        (found,) = annotation.detector.find([picture], annotation.threshold)
        height, width = picture.shape[1:]
        image = {"id": len(images), "file_name": path.name, "frame": place, "width": width, "height": height}
        boxes += [_coco(len(boxes) + number, len(images), box) for number, box in enumerate(found)]
        images.append(image)
        yield draw(picture, found, annotation.detector.labels)


def draw(picture: Tensor, boxes: Sequence[Box], labels: Sequence[str]) -> Tensor:
    """The picture ``(3, height, width)`` uint8 with boxes, labels and scores on it."""
    if not boxes:
        return picture
    sides = torch.tensor([box.sides for box in boxes])
    return draw_bounding_boxes(  # type: ignore[no-any-return]  # torchvision has no types
        picture, sides, [f"{labels[box.category]} {box.score:.2f}" for box in boxes], width=LINE_PIXELS
    )


def _coco(number: int, image: int, box: Box) -> dict[str, Any]:
    left, top, right, bottom = box.sides
    width, height = right - left, bottom - top
    return {
        "id": number,
        "image_id": image,
        "category_id": box.category,
        "bbox": [round(value, DIGITS) for value in (left, top, width, height)],
        "area": round(width * height, DIGITS),
        "iscrowd": 0,
        "score": round(box.score, 6),
    }


def _encode(frames: Iterator[Tensor], path: Path) -> None:
    """Write an H.264 file; odd sizes lose their last row or column, which the codec cannot take."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.pix_fmt = "yuv420p"
        for place, picture in enumerate(frames):
            height, width = (side - side % 2 for side in picture.shape[1:])
            if place == 0:
                stream.width, stream.height = width, height
            pixels = picture[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        output.mux(stream.encode(None))
