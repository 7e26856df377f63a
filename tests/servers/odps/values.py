"""Values as a test writes and reads them, and as they are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored(kind: str, value: object) -> object:
    """A value for the store; datetimes without a zone are in the local one, as the SDK takes them."""
    match value:
        case datetime():
            elapsed = value.astimezone(UTC) - _EPOCH
            return (
                elapsed // timedelta(microseconds=1) * 1000
                if kind == "timestamp"
                else elapsed // timedelta(milliseconds=1)
            )
        case bool():
            return int(value)
    return value


def text_of(content: bytes) -> str | bytes:
    """A string as it is stored: MaxCompute's may be any bytes, and stay so where they are not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def bytes_of(value: object) -> bytes:
    """A stored string as it travels."""
    return value if isinstance(value, bytes) else str(value).encode()


def restored(kind: str, value: object) -> object:
    """A value from the store: a bool where the column is one, a datetime in UTC where it is one."""
    match kind, value:
        case "boolean", int():
            return bool(value)
        case "datetime", int():
            return _EPOCH + timedelta(milliseconds=value)
        case "timestamp", int():
            return _EPOCH + timedelta(microseconds=value // 1000)
    return value
