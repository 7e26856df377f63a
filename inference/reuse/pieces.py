"""Pieces of what is known of a video, as arrays of numbers, and the memory that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inference.reuse.needs import Need
from inference.signals.registry import NAMES
from inference.types import Detection, VideoProbe

Span = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True, slots=True)
class Piece:
    """Numbers, and the spans of the video that they belong to, if they have any."""

    values: npt.NDArray[np.generic]
    spans: tuple[Span, ...] = ()


class Memory(Protocol):
    """Keeps pieces of videos by the content of their files. It may forget any piece, and never raises."""

    def get(self, content_sha256: str, need: Need) -> Piece | None:
        """Return the piece, unless it is forgotten or damaged."""
        ...

    def put(self, content_sha256: str, need: Need, piece: Piece, seconds: float) -> None:
        """Keep the piece, which took ``seconds``."""
        ...


def facts_piece(probe: VideoProbe) -> Piece:
    """Return the facts of a file as a piece. Packets are left out: only the measuring of signals reads them."""
    return _text_piece(asdict(replace(probe, packets=None)))


def facts_of(piece: Piece) -> VideoProbe:
    """Inverse of :func:`facts_piece`. Raises ValueError or TypeError for anything else."""
    return VideoProbe(**_text_of(piece))


def boxes_piece(found: Sequence[Detection], frame_seconds: Sequence[float]) -> Piece:
    """Return the boxes, and the times of the frames that were inspected, as a piece."""
    return _text_piece([list(frame_seconds), [astuple(one) for one in found]])


def boxes_of(piece: Piece) -> tuple[list[Detection], list[float]]:
    """Inverse of :func:`boxes_piece`. Raises ValueError or TypeError for anything else."""
    frame_seconds, boxes = _text_of(piece)
    return [Detection(seconds, label, score, tuple(box)) for seconds, label, score, box in boxes], frame_seconds


def signals_piece(measured: Mapping[Span, Mapping[str, float]]) -> Piece:
    """Return the signals of spans as a piece."""
    rows = [[values[name] for name in NAMES] for values in measured.values()]
    return Piece(np.array(rows, dtype=np.float64), tuple(measured))


def signals_of(piece: Piece) -> dict[Span, dict[str, float]]:
    """Inverse of :func:`signals_piece`. Raises ValueError for anything else."""
    rows = zip(piece.spans, piece.values.tolist(), strict=True)
    return {span: dict(zip(NAMES, values, strict=True)) for span, values in rows}


def _text_piece(content: object) -> Piece:
    return Piece(np.frombuffer(json.dumps(content).encode(), dtype=np.uint8))


def _text_of(piece: Piece) -> Any:  # JSON
    return json.loads(piece.values.tobytes())
