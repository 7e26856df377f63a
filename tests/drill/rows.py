"""Rows of a drill: the outcome of each, and the content of its video."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from storage.records import OK, Record

BUCKET = "drill"
NUMBER = "number"  # a carried column, a number in the output
SMALLEST_BYTES, LARGEST_BYTES = 1_000, 12_000


class Kind(StrEnum):
    """The fault that a row causes."""

    GOOD = "good"
    MISSING = "missing"  # it has no object
    FORBIDDEN = "forbidden"  # its path leaves the bucket
    BAD = "bad row"  # a column is not JSON
    CUT = "cut short"  # its object ends early in every tier
    CRASH = "crash"  # the decoder segfaults on it
    HANG = "hang"  # the decoder never returns
    BOMB = "memory bomb"  # the decoder asks for a terabyte
    UNWRITABLE = "unwritable"  # a column of the output cannot hold a value of it
    FATAL = "fatal"  # it kills the whole worker process, every time


OUTCOME: Mapping[Kind, str] = {
    Kind.GOOD: OK,
    Kind.MISSING: "object_missing",
    Kind.FORBIDDEN: "forbidden_path",
    Kind.BAD: "bad_row",
    Kind.CUT: "object_corrupt",
    Kind.CRASH: "decode_crashed",
    Kind.HANG: "decode_timeout",
    Kind.BOMB: "decode_out_of_memory",
    Kind.UNWRITABLE: "row_unwritable",
    Kind.FATAL: "attempts_exhausted",
}

DECODED = {Kind.CRASH: b"CRASH", Kind.HANG: b"HANG!", Kind.BOMB: b"BOMB!"}
"""First bytes of the poison files, as :mod:`tests.drill.poison` reads them."""


@dataclass(frozen=True, slots=True)
class Row:
    """An input row. Rows may share a video: ``video`` is the ordinal of the row that it was made for."""

    ordinal: int
    kind: Kind
    video: int

    @property
    def path(self) -> str:
        """The row's ``video_path``."""
        if self.kind is Kind.FORBIDDEN:
            return f"../../outside/{self.ordinal}.mp4"
        return f"videos/{self.video // 1000}/{self.video}.mp4"

    def record(self) -> Record:
        """Return the row of the input table."""
        return {
            "video_id": f"v{self.ordinal}",
            "oss_bucket": BUCKET,
            "video_path": self.path,
            "video_tag": self.kind.value,
            "info": "{not JSON" if self.kind is Kind.BAD else "{}",
            NUMBER: "many" if self.kind is Kind.UNWRITABLE else str(self.ordinal),
        }

    def content(self, seed: int) -> bytes:
        """Return the content of the row's video, equal in every process of a drill."""
        draw = random.Random(f"{seed}/{self.video}")
        return DECODED.get(self.kind, b"VIDEO") + draw.randbytes(draw.randint(SMALLEST_BYTES, LARGEST_BYTES))


def video_of(key: str) -> int:
    """Return the ordinal of the row that the object's key was made for."""
    return int(key.rpartition("/")[2].removesuffix(".mp4"))
