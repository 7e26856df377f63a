"""Messages between tasks: one row as versioned JSON, so that old and new workers can serve one fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter

from storage.records import Record

SCHEMA = 1


class UnknownSchema(Exception):
    """The message is of a newer tamis: it must wait for an upgraded worker and must not be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMessage:
    """A row: run, shard, ordinal in the input table, and the table's raw record."""

    run_id: str
    shard_id: str
    ordinal: int
    record: Record

    @property
    def holder(self) -> str:
        """The name under which this row leases a spool file; see :func:`row_of`."""
        return f"{self.run_id}:{self.shard_id}:{self.ordinal}"


def row_of(holder: str) -> tuple[str, str, int]:
    """Return run, shard and ordinal of the row that leases a spool file under this name."""
    run_id, shard_id, ordinal = holder.split(":")
    return run_id, shard_id, int(ordinal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A row whose video lies in the spool of ``node``; an empty ``node`` means that any GPU worker may judge it."""

    row: RowMessage
    node: str
    spool_key: str
    tier: str
    milliseconds: float  # of the download


_ROW, _DOWNLOADED = TypeAdapter(RowMessage), TypeAdapter(Downloaded)  # unknown keys are ignored
# Not asdict, which copies the record: two messages of each row pass here.
_ROW_FIELDS, _DOWNLOADED_FIELDS = (tuple(field.name for field in fields(kind)) for kind in (RowMessage, Downloaded))


def dump_row(row: RowMessage) -> dict[str, Any]:
    """Return the message of ``feed``: JSON types only."""
    return {"schema": SCHEMA, **{name: getattr(row, name) for name in _ROW_FIELDS}}


def load_row(message: Mapping[str, Any]) -> RowMessage:
    """Parse the message of ``feed``; raises :class:`UnknownSchema`, or ``ValueError`` for a malformed one."""
    _check_schema(message)
    return _ROW.validate_python(message)


def dump_downloaded(downloaded: Downloaded) -> dict[str, Any]:
    """Return the message of ``download``; ``node`` in it chooses the next queue."""
    told = {name: getattr(downloaded, name) for name in _DOWNLOADED_FIELDS}
    return {"schema": SCHEMA, **told, "row": dump_row(downloaded.row)}


def load_downloaded(message: Mapping[str, Any]) -> Downloaded:
    """Parse the message of ``download``; raises :class:`UnknownSchema`, or ``ValueError`` for a malformed one."""
    _check_schema(message)
    _check_schema(message["row"])
    return _DOWNLOADED.validate_python(message)


def for_any_node(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message of ``infer`` for any GPU worker; other messages name no node and are returned as they are.

    The spooled file is a cache: a worker on another node downloads the video again.
    """
    return {**message, "node": ""} if "node" in message else dict(message)


def refusals_of(message: Mapping[str, Any]) -> int:
    """Return how often workers refused this message because they do not know its schema."""
    return int(message.get("refusals", 0))


def with_refusal(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message with one more refusal; ``schema``, ``node`` and ``refusals`` mean the same in every schema."""
    return {**message, "refusals": refusals_of(message) + 1}


def _check_schema(message: Mapping[str, Any]) -> None:
    if message.get("schema") != SCHEMA:
        msg = f"message schema {message.get('schema')!r}; this worker reads {SCHEMA}: upgrade it"
        raise UnknownSchema(msg)
