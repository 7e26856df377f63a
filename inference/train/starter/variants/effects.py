"""Effects put onto frames ``(N, H, W, 3)`` before the encode, in families; each is drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from inference.train.starter.variants.paint import FONTS, WORDS, bright, grid, paste, resized, sized, words
from inference.types import Frames


@dataclass(frozen=True, slots=True)
class Materials:
    """Pictures that effects are made of: stickers ``(h, w, 4)`` RGBA, and another scene ``(H, W, 3)``."""

    stickers: Sequence[Frames]
    scene: Frames


Effect = Callable[[Frames, np.random.Generator, Materials], Frames]


def stickers(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:
    """One to four stickers that rest, bounce, pulse, swing or fly through."""
    height, width = frames.shape[1:3]
    for _ in range(rng.integers(1, 5)):
        picture = materials.stickers[int(rng.integers(len(materials.stickers)))]
        side = min(height, width) * rng.uniform(0.14, 0.4)
        x, y = rng.uniform(0.05, 0.75) * width, rng.uniform(0.05, 0.7) * height
        move, rate, phase = rng.integers(5), rng.uniform(0.5, 2.5), rng.uniform(0, 6.3)
        for place, frame in enumerate(frames):
            wave = np.sin(place / 12 * rate * 2 + phase)
            now = sized(picture, side * (1 + 0.25 * wave * (move == 2)), 25 * wave * (move == 3))
            fly = width * 0.02 * place * (move == 4)
            paste(frame, now, (x + fly) % width, y + side * 0.3 * wave * (move == 1))
    return frames


def titles(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:  # noqa: ARG001 - one signature for all effects
    """One or two animated titles: popping up, sliding in, or written letter by letter."""
    height, width = frames.shape[1:3]
    for row in range(rng.integers(1, 3)):
        text = str(rng.choice(WORDS)).upper() if rng.random() < 0.5 else str(rng.choice(WORDS))
        size = round(min(width / len(text) * 1.3, height * 0.25) * rng.uniform(0.7, 1.1))
        colour, font, move = bright(rng), str(rng.choice(FONTS)), rng.integers(3)
        picture = words(text, size, colour, font=font, outline=max(1, size // 12) * int(rng.random() < 0.7))
        left, top = (width - picture.shape[1]) / 2, height * (rng.uniform(0.1, 0.4) + 0.35 * row)
        starts, lasts = rng.uniform(0, 0.25) * len(frames), rng.uniform(0.15, 0.5) * len(frames)
        for place, frame in enumerate(frames):
            done = np.clip((place - starts) / lasts, 0, 1)
            if done > 0:
                _title(frame, picture, left, top, float(done), int(move))
    return frames


def _title(frame: Frames, picture: Frames, left: float, top: float, done: float, move: int) -> None:
    if move == 0:
        now = sized(picture, picture.shape[0] * (0.4 + 0.6 * done))
        paste(frame, now, left + (picture.shape[1] - now.shape[1]) / 2, top)
    elif move == 1:
        paste(frame, picture, left - (1 - done) * frame.shape[1], top)
    else:
        paste(frame, picture[:, : max(1, round(picture.shape[1] * done))], left, top)


def glitch(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:  # noqa: ARG001 - as above
    """Bursts of shifted colour channels, torn rows and coloured bars."""
    height, width = frames.shape[1:3]
    rate, strength = rng.uniform(0.15, 0.5), rng.uniform(0.01, 0.06)
    for frame in frames:
        if rng.random() > rate:
            continue
        shift = round(width * strength * rng.uniform(0.5, 1.5)) + 1
        frame[:, :, 0] = np.roll(frame[:, :, 0], shift, axis=1)
        frame[:, :, 2] = np.roll(frame[:, :, 2], -shift, axis=1)
        for _ in range(rng.integers(2, 8)):
            top = rng.integers(height)
            band = frame[top : top + rng.integers(2, max(3, height // 8))]
            band[:] = np.roll(band, int(rng.integers(-width // 6, width // 6 + 1)), axis=1)
            if rng.random() < 0.2:
                band[:, :, rng.integers(3)] = rng.integers(256)
    return frames


def transition(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:
    """A wipe, a slide, an iris, a zoom or a dissolve to another scene, once or there and back."""
    height, width = frames.shape[1:3]
    scene = resized(materials.scene, width, height)
    rows, columns = grid(height, width)
    way, lasts = rng.integers(5), rng.uniform(0.15, 0.4) * len(frames)
    starts = rng.uniform(0.1, 0.5) * len(frames)
    for place, frame in enumerate(frames):
        done = float(np.clip((place - starts) / lasts, 0, 1))
        if done > 0:
            frame[:] = _between(frame, scene, done, int(way), rows, columns)
    return frames


def _between(
    frame: Frames,
    scene: Frames,
    done: float,
    way: int,
    rows: np.typing.NDArray[np.float32],
    columns: np.typing.NDArray[np.float32],
) -> Frames:
    height, width = frame.shape[:2]
    if way == 0:
        return np.where((columns < done)[:, :, None], scene, frame)
    if way == 1:
        seam = round(width * done)
        return np.concatenate([scene[:, width - seam :], frame[:, : width - seam]], axis=1)
    if way == 2:
        return np.where((np.hypot(rows - 0.5, columns - 0.5) < done * 0.72)[:, :, None], scene, frame)
    if way == 3 and done < 1:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 40 * done, 1 + 3 * done)
        frame = np.asarray(cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101), np.uint8)
    return np.asarray(cv2.addWeighted(scene, done, frame, 1 - done, 0), np.uint8)


def glow(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:  # noqa: ARG001 - as above
    """Light leaks that drift, flashes, and a bloom around bright parts."""
    height, width = frames.shape[1:3]
    rows, columns = grid(height, width)
    lights = [(bright(rng), rng.uniform(0, 1, 2), rng.uniform(-0.5, 0.5, 2), rng.uniform(0.15, 0.45)) for _ in range(3)]
    blooms, pulse = rng.random() < 0.5, rng.uniform(0.5, 2.5)
    for place, frame in enumerate(frames):
        lit = frame.astype(np.float32)
        if blooms:
            lit += cv2.GaussianBlur(np.maximum(lit - 150, 0), (0, 0), height * 0.03) * 1.6
        strength = 0.6 + 0.4 * np.sin(place / 12 * pulse * 2)
        for colour, start, speed, reach in lights:
            y, x = start + speed * place / len(frames)
            lobe = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / reach**2) * strength
            lit += lobe[:, :, None] * np.array(colour, np.float32) * 0.75
        frame[:] = np.minimum(lit, 255).astype(np.uint8)
    return frames


def particles(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:  # noqa: ARG001 - as above
    """Snow, confetti, bokeh or sparks: 40 to 160 dots that drift."""
    height, width = frames.shape[1:3]
    count = int(rng.integers(40, 160))
    places, speeds = rng.uniform(0, 1, (count, 2)), rng.normal(0, 0.012, (count, 2)) + rng.uniform(-0.01, 0.02)
    radii = rng.uniform(0.003, 0.015, count) * height + 1
    colours = [bright(rng) for _ in range(count if rng.random() < 0.5 else 1)]
    opacity = rng.uniform(0.5, 1.0)
    for place, frame in enumerate(frames):
        painted = frame.copy()
        for dot in range(count):
            y, x = (places[dot] + speeds[dot] * place) % 1
            cv2.circle(
                painted, (round(x * width), round(y * height)), round(radii[dot]), colours[dot % len(colours)], -1
            )
        cv2.addWeighted(painted, opacity, frame, 1 - opacity, 0, dst=frame)
    return frames


def stylised(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:  # noqa: ARG001 - as above
    """Few colours with drawn edges, two tones, turning hues, or large pixels."""
    way, levels, turn = rng.integers(4), int(rng.integers(3, 6)), rng.uniform(2, 6)
    tones = np.array([bright(rng), bright(rng)], np.float32)
    for place, frame in enumerate(frames):
        frame[:] = _styled(frame, int(way), levels, turn * place, tones)
    return frames


def _styled(frame: Frames, way: int, levels: int, turn: float, tones: np.typing.NDArray[np.float32]) -> Frames:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if way == 0:
        flat = np.minimum(frame // (256 // levels), levels - 1) * (255 // (levels - 1))
        return np.where(
            cv2.dilate(cv2.Canny(grey, 60, 140), np.ones((3, 3), np.uint8))[:, :, None] > 0, 0, flat
        ).astype(np.uint8)
    if way == 1:
        share = grey[:, :, None].astype(np.float32) / 255
        return np.asarray((tones[0] * (1 - share) * 0.4 + tones[1] * share).clip(0, 255), np.uint8)
    if way == 2:
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(np.int16) + round(60 + turn) % 180) % 180
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    side = max(4, frame.shape[0] // 36)
    small = cv2.resize(frame, (frame.shape[1] // side, frame.shape[0] // side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def split(frames: Frames, rng: np.random.Generator, materials: Materials) -> Frames:
    """Two or four panes, a mirror, or a picture inside the picture."""
    height, width = frames.shape[1:3]
    scene = resized(materials.scene, width, height)
    way = rng.integers(4)
    for frame in frames:
        half = resized(frame, width // 2, height // 2)
        if way == 0:
            frame[:, width // 2 :] = scene[:, width // 2 :]
        elif way == 1:
            frame[:, (width + 1) // 2 :] = frame[:, : width // 2][:, ::-1]
        elif way == 2:
            frame[: half.shape[0] * 2, : half.shape[1] * 2] = np.tile(half, (2, 2, 1))
        else:
            top, left = height // 3, width // 3
            frame[top : top + half.shape[0], left : left + half.shape[1]] = scene[: half.shape[0], : half.shape[1]]
    return frames


EFFECTS: dict[str, Effect] = {
    "sticker": stickers,
    "title": titles,
    "glitch": glitch,
    "transition": transition,
    "glow": glow,
    "particles": particles,
    "style": stylised,
}
UNSEEN: dict[str, Effect] = {"split": split}  # a family that is only measured, never trained on
