"""Logos, captions, borders and bars, put onto frames before the encode, with their boxes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from inference.train.starter.variants.effects import Materials
from inference.train.starter.variants.paint import FONTS, WORDS, bright, paste, sized, words
from inference.types import Frames

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 as shares of width and height
Marked = tuple[Frames, list[Box]]
Region = Callable[[Frames, np.random.Generator, Materials], Marked]


def logo(frames: Frames, rng: np.random.Generator, materials: Materials) -> Marked:
    """A small sign or a name that rests in a corner, half transparent or opaque."""
    height, width = frames.shape[1:3]
    side = min(height, width) * rng.uniform(0.08, 0.16)
    if rng.random() < 0.5:
        sign = sized(materials.stickers[int(rng.integers(len(materials.stickers)))], side)
    else:
        sign = words(str(rng.choice(WORDS)).split()[0].upper(), round(side * 0.7), bright(rng), outline=1)
    margin = min(height, width) * rng.uniform(0.02, 0.06)
    left = margin if rng.random() < 0.5 else width - margin - sign.shape[1]
    top = margin if rng.random() < 0.7 else height - margin - sign.shape[0]
    opacity = rng.uniform(0.6, 1.0)
    for frame in frames:
        paste(frame, sign, left, top, opacity)
    return frames, [_box(left, top, sign, width, height)]


def caption(frames: Frames, rng: np.random.Generator, materials: Materials) -> Marked:  # noqa: ARG001 - one signature for all regions
    """Subtitles at the bottom, with an outline or on a dark band; the words may change."""
    height, width = frames.shape[1:3]
    size = round(min(height, width) * rng.uniform(0.06, 0.09))
    texts = [words(str(rng.choice(WORDS)), size, (255, 255, 255), font=FONTS[1], outline=2) for _ in range(2)]
    changes = len(frames) // 2 if rng.random() < 0.5 else len(frames)
    top = height * rng.uniform(0.8, 0.88)
    has_band = rng.random() < 0.4
    for place, frame in enumerate(frames):
        text = texts[0 if place < changes else 1]
        left = (width - text.shape[1]) / 2
        if has_band:
            band = frame[
                round(top) - 4 : round(top) + size + 8, max(0, round(left) - 8) : round(left) + text.shape[1] + 8
            ]
            band //= 4
        paste(frame, text, left, top)
    widest = max(texts, key=lambda text: text.shape[1])
    return frames, [_box((width - widest.shape[1]) / 2, top, widest, width, height)]


def border(frames: Frames, rng: np.random.Generator, materials: Materials) -> Marked:  # noqa: ARG001 - as above
    """The picture made smaller inside a plain, two-coloured or blurred frame of 5 to 14 % on each side."""
    height, width = frames.shape[1:3]
    rows, columns = round(height * rng.uniform(0.05, 0.14)), round(width * rng.uniform(0.05, 0.14))
    first, second = np.array(bright(rng), np.float32), np.array(bright(rng), np.float32)
    share = np.linspace(0, 1, height)[:, None, None] if rng.random() < 0.4 else np.zeros((height, 1, 1))
    backdrop = np.broadcast_to(first * (1 - share) + second * share, (height, width, 3)).astype(np.uint8)
    is_blurred = rng.random() < 0.3
    for frame in frames:
        inner = cv2.resize(frame, (width - 2 * columns, height - 2 * rows), interpolation=cv2.INTER_AREA)
        frame[:] = cv2.GaussianBlur(frame, (0, 0), height / 25) if is_blurred else backdrop
        frame[rows : height - rows, columns : width - columns] = inner
    return frames, _frame_boxes(rows / height, columns / width)


def bars(frames: Frames, rng: np.random.Generator, materials: Materials) -> Marked:  # noqa: ARG001 - as above
    """Letterbox or pillarbox bars of one dark or white colour, 6 to 18 % on each side; the picture is cut off."""
    height, width = frames.shape[1:3]
    share = rng.uniform(0.06, 0.18)
    level = 0 if rng.random() < 0.8 else int(rng.choice([16, 255]))
    lies = rng.random() < 0.6
    rows, columns = (round(height * share), 0) if lies else (0, round(width * share))
    frames[:, :rows] = frames[:, height - rows :] = level
    frames[:, :, :columns] = frames[:, :, width - columns :] = level
    return frames, _frame_boxes(rows / height, columns / width)


REGIONS: dict[str, Region] = {"logo": logo, "caption": caption, "border": border, "bars": bars}


def _box(left: float, top: float, sign: Frames, width: int, height: int) -> Box:
    return (
        max(0.0, left / width),
        max(0.0, top / height),
        min(1.0, (left + sign.shape[1]) / width),
        min(1.0, (top + sign.shape[0]) / height),
    )


def _frame_boxes(rows: float, columns: float) -> list[Box]:
    sides = [(0.0, 0.0, 1.0, rows), (0.0, 1 - rows, 1.0, 1.0), (0.0, 0.0, columns, 1.0), (1 - columns, 0.0, 1.0, 1.0)]
    return [box for box in sides if box[2] > box[0] and box[3] > box[1]]
