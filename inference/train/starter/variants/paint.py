"""Painting onto frames: pictures with transparency, and words in a font that matplotlib ships."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from inference.types import Frames

FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono-Bold.ttf")
WORDS = (
    "follow for more", "wait for it", "summer sale", "part two", "the best day ever", "subscribe now", "new video",
    "morning in the hills", "so this happened", "link below", "travel diary", "ten easy steps", "watch this", "hello",
)  # fmt: skip


def paste(frame: Frames, sticker: Frames, left: float, top: float, opacity: float = 1.0) -> None:
    """Blend an RGBA ``sticker (h, w, 4)`` onto ``frame (H, W, 3)`` in place; parts outside are cut off."""
    height, width = frame.shape[:2]
    x, y = round(left), round(top)
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(width, x + sticker.shape[1]), min(height, y + sticker.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    part = sticker[y1 - y : y2 - y, x1 - x : x2 - x]
    alpha = part[:, :, 3:].astype(np.float32) * (opacity / 255)
    seen = frame[y1:y2, x1:x2]
    seen[:] = np.rint(seen + (part[:, :, :3].astype(np.float32) - seen) * alpha).astype(np.uint8)


def sized(sticker: Frames, height: float, degrees: float = 0.0) -> Frames:
    """Scale an RGBA picture to ``height`` pixels, then turn it about its centre."""
    factor = max(2.0, height) / sticker.shape[0]
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(sticker, None, fx=factor, fy=factor, interpolation=way), np.uint8)
    if not degrees:
        return scaled
    rows, columns = scaled.shape[:2]
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(scaled, turn, (columns, rows)), np.uint8)


def resized(picture: Frames, width: int, height: int) -> Frames:
    """Scale a picture to ``width`` x ``height`` pixels by area."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def words(text: str, height: int, colour: tuple[int, int, int], *, font: str = FONTS[0], outline: int = 0) -> Frames:
    """Words as an RGBA picture whose letters are ``height`` pixels high, with a dark outline of so many pixels."""
    face = _face(font, max(6, height))
    left, top, right, bottom = face.getbbox(text, stroke_width=outline)
    picture = Image.new("RGBA", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(picture).text(
        (-left, -top), text, font=face, fill=(*colour, 255), stroke_width=outline, stroke_fill=(0, 0, 0, 255)
    )
    return np.asarray(picture)


def bright(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw white, or a saturated colour."""
    if rng.random() < 0.4:
        return 255, 255, 255
    hue = np.array([[[rng.integers(0, 180), rng.integers(140, 256), rng.integers(200, 256)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def grid(height: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Row and column of every pixel, as shares of the height and the width."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows / height, columns / width


@lru_cache(maxsize=64)
def _face(font: str, height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / font), height)
