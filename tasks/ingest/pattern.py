"""Addresses that contain a date: ``odps://project/videos/ds={yesterday:%Y%m%d}``. Text only; nothing is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

DEFAULT_FORMAT = "%Y%m%d"
DIRECTIVES = frozenset("YymdjH")

_FIELD = re.compile(r"\{(date|yesterday)(?::([^{}]*))?\}")


@dataclass(frozen=True, slots=True)
class AddressPattern:
    """An address as literal ``pieces`` with a date between each two, in the format of the same index in ``formats``.

    ``{date}`` stands for every day until today, ``{yesterday}`` for each day that is over; with ``%H`` both stand for
    hours. Times are naive and in the source's zone.
    """

    text: str
    pieces: tuple[str, ...]
    formats: tuple[str, ...]
    waits_for_day_end: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern; ``ValueError`` says what is wrong with it."""
        if "*" in text:
            raise ValueError("takes no *: write {date} or {yesterday} in place of the partition's day")
        fields = list(_FIELD.finditer(text))
        pieces, formats = _split(text, fields)
        if not fields:
            raise ValueError("names no day: write {date} or {yesterday} (also {date:%Y-%m-%d}) in place of the day")
        if any(brace in piece for piece in pieces for brace in "{}"):
            raise ValueError("has a brace that is not part of {date}, {yesterday} or {date:%Y-%m-%d}")
        names = {field[1] for field in fields}
        if len(names) > 1:
            raise ValueError("mixes {date} and {yesterday}: use one of them throughout")
        _check_formats(formats)
        return cls(text, pieces, formats, names == {"yesterday"})

    def __str__(self) -> str:
        """Return the pattern as it was written."""
        return self.text

    @property
    def wildcard(self) -> str:
        """Return the address with ``*`` for each date, as ``list_partitions`` takes it."""
        return "*".join(self.pieces)

    @property
    def has_hours(self) -> bool:
        """Return whether a partition is an hour and not a day."""
        return any("%H" in format_ for format_ in self.formats)

    def at(self, moment: datetime) -> str:
        """Return the address of the partition of this day or hour."""
        dates = [moment.strftime(format_) for format_ in self.formats]
        return "".join(piece + date for piece, date in zip(self.pieces, [*dates, ""], strict=True))

    def moment_of(self, stars: tuple[str, ...]) -> datetime | None:
        """Return the day or hour that these texts name; ``None`` if one is not a date or if they differ."""
        texts = dict(zip(self.formats, stars, strict=True))
        try:
            moment = datetime.strptime("\n".join(texts.values()), "\n".join(texts))  # noqa: DTZ007 - naive by design
        except ValueError:
            return None
        is_exact = all(moment.strftime(format_) == star for format_, star in zip(self.formats, stars, strict=True))
        return moment if is_exact else None


def _split(text: str, fields: list[re.Match[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    starts = [0, *(field.end() for field in fields)]
    ends = [*(field.start() for field in fields), len(text)]
    pieces = tuple(text[start:end] for start, end in zip(starts, ends, strict=True))
    return pieces, tuple(field[2] or DEFAULT_FORMAT for field in fields)


def _check_formats(formats: tuple[str, ...]) -> None:
    used: list[str] = []
    for format_ in dict.fromkeys(formats):  # the same format twice is the same text twice
        directives = re.findall(r"%(.?)", format_)
        if unknown := [f"%{directive}" for directive in directives if directive not in DIRECTIVES or not directive]:
            raise ValueError(f"has {', '.join(unknown)} in a date's format; there are %Y %y %m %d %j %H")
        if "/" in format_:
            raise ValueError(f"has a slash in the format {format_!r}: write one {{date:…}} on each side of it")
        used += directives
    if twice := sorted({f"%{directive}" for directive in used if used.count(directive) > 1}):
        raise ValueError(f"has {', '.join(twice)} in two different formats")
    if not (set(used) & set("Yy") and ({"m", "d"} <= set(used) or "j" in used)):
        raise ValueError("must give the year, the month and the day (%Y %m %d, or %Y %j), in one format or in several")
