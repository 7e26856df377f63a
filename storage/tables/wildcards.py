"""Matching of addresses with ``*``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import unquote

from storage.uri import TableUrl

STAR = "*"


@dataclass(frozen=True, slots=True)
class TablePartition:
    """A partition. ``stars`` holds the text matched by each ``*`` of the pattern, in the pattern's order.

    ``modified_at`` is the time of its last change, if the store states it.
    """

    url: str
    stars: tuple[str, ...]
    modified_at: datetime | None = None


def stars_in(pattern: str, text: str) -> tuple[str, ...] | None:
    """Return the texts matched by the stars, or ``None`` if the text does not match."""
    found = re.fullmatch("([^/]*)".join(map(re.escape, pattern.split(STAR))), text)
    return found.groups() if found else None


def written_columns(url: TableUrl, address: str) -> list[str]:
    """Return the partition's columns in the address's order; a parsed URL has them sorted."""
    parts = address.replace("#", "/").split("/")
    columns = [unquote(part.partition("=")[0]) for part in parts[len(parts) - len(url.partition) :]]
    return [column.lower() for column in columns] if url.scheme == "odps" else columns


def partition_of(
    url: TableUrl, columns: Sequence[str], row: Mapping[str, object], modified_at: datetime | None = None
) -> TablePartition | None:
    """Return the partition with these values, its stars in the order of ``columns``; ``None`` if one does not match."""
    wanted = dict(url.partition)
    stars: list[str] = []
    values: dict[str, str] = {}
    for column in columns:
        value = row[column.lower() if column not in row else column]
        fitting = None if value is None else stars_in(wanted[column], str(value))
        if fitting is None:
            return None
        values[column] = str(value)
        stars += fitting
    named = replace(url, partition=tuple((column, values[column]) for column, _ in url.partition))
    return TablePartition(str(named), tuple(stars), modified_at)
