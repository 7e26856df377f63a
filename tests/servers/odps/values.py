"""Conversion between a test's values and stored values."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

from tests.servers.odps.schema import STORED_AS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored(kind: str, value: object) -> object:
    """Return a value for the store; a datetime without a zone is local time, as in the SDK."""
    match value:
        case datetime():
            elapsed = value.astimezone(UTC) - _EPOCH
            return (
                elapsed // timedelta(microseconds=1) * 1000
                if kind.startswith("timestamp")
                else elapsed // timedelta(milliseconds=1)
            )
        case bool():
            return int(value)
    is_plain = value is None or kind in STORED_AS or kind.startswith(("varchar", "char"))
    return value if is_plain else pickle.dumps(value)


def text_of(content: bytes) -> str | bytes:
    """Return a string for the store: MaxCompute's strings may hold any bytes, which stay bytes if not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def bytes_of(value: object) -> bytes:
    """Return a stored string's bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


def restored(kind: str, value: object) -> object:
    """Return a stored value for a test: booleans as ``bool``, datetimes in UTC."""
    match kind, value:
        case "boolean", int():
            return bool(value)
        case "datetime", int():
            return _EPOCH + timedelta(milliseconds=value)
        case "timestamp", int():
            return _EPOCH + timedelta(microseconds=value // 1000)
    return value
