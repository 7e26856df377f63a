"""The placement of a source picture in a model's picture. Pure; boxes are mapped back with the same numbers."""

from __future__ import annotations

from dataclasses import dataclass

from inference.types import Fit, Frames, PictureSpec

LETTERBOX_GREY = 114  # as Ultralytics pads
CROP_BLACK = 0  # as torchvision's centre crop pads


@dataclass(frozen=True, slots=True)
class Placement:
    """Scale the source to ``width`` x ``height``, then shift it by (left, top) pixels: negative cuts, positive pads."""

    width: int
    height: int
    left: int
    top: int
    padding: int


def placement(spec: PictureSpec, width: int, height: int) -> Placement:
    """Place an upright source of ``width`` x ``height`` pixels.

    >>> placement(PictureSpec(960, 960, Fit.LETTERBOX), 1280, 720)
    Placement(width=960, height=540, left=0, top=210, padding=114)
    >>> placement(PictureSpec(256, 256, Fit.CENTRE_CROP, shortest_edge=292), 1280, 720)
    Placement(width=519, height=292, left=-132, top=-18, padding=0)
    """
    if spec.fit is Fit.LETTERBOX:
        return _letterbox(spec, width, height)
    if spec.fit is Fit.CENTRE_CROP:
        return _centre_crop(spec, width, height)
    if spec.fit is Fit.NATIVE:
        return Placement(width, height, (spec.width - width) // 2, (spec.height - height) // 2, CROP_BLACK)
    return Placement(spec.width, spec.height, 0, 0, CROP_BLACK)


def place(scaled: Frames, placed: Placement, canvas: Frames) -> None:
    """Write one scaled frame (height, width, 3) onto ``canvas`` (height, width, 3), padding included."""
    rows, source_rows = _overlap(placed.top, scaled.shape[0], canvas.shape[0])
    columns, source_columns = _overlap(placed.left, scaled.shape[1], canvas.shape[1])
    if (rows.stop - rows.start, columns.stop - columns.start) != canvas.shape[:2]:
        canvas[:] = placed.padding
    canvas[rows, columns] = scaled[source_rows, source_columns]


def _letterbox(spec: PictureSpec, width: int, height: int) -> Placement:
    """Scale and round as ``ultralytics.data.augment.LetterBox`` does (auto=False, scaleup=True)."""
    ratio = min(spec.height / height, spec.width / width)
    scaled_width, scaled_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    left = round((spec.width - scaled_width) / 2 - 0.1)
    top = round((spec.height - scaled_height) / 2 - 0.1)
    return Placement(scaled_width, scaled_height, left, top, LETTERBOX_GREY)


def _centre_crop(spec: PictureSpec, width: int, height: int) -> Placement:
    """Scale and round as torchvision's ``Resize(shortest_edge)`` and ``CenterCrop`` do."""
    edge = spec.shortest_edge or min(spec.height, spec.width)
    scaled_width, scaled_height = edge, edge
    if width > height:
        scaled_width = int(edge * width / height)
    else:
        scaled_height = int(edge * height / width)
    left = -round((scaled_width - spec.width) / 2)
    top = -round((scaled_height - spec.height) / 2)
    return Placement(scaled_width, scaled_height, left, top, CROP_BLACK)


def _overlap(offset: int, scaled_length: int, canvas_length: int) -> tuple[slice, slice]:
    start, stop = max(0, offset), min(canvas_length, offset + scaled_length)
    return slice(start, stop), slice(start - offset, stop - offset)
