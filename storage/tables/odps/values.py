"""Exact conversion between the values of MaxCompute columns and those of rows.

A value that a column cannot hold exactly raises ``Unfit``: nothing is rounded, cut or guessed. Times become text in UTC
with their zone (``TIMESTAMP_NTZ`` has none), so that equal values read equal on every host.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from odps import types

from storage.json_text import Scalar, scalar, text_of

MAX_TEXT_BYTES = 8 * 1024 * 1024  # of one STRING
TEXT = "string"
INTEGER_BOUNDS = {
    "bigint": (-(2**63) + 1, 2**63 - 1),  # the smallest 64-bit number stands for NULL in MaxCompute
    "int": (-(2**31), 2**31 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "tinyint": (-(2**7), 2**7 - 1),
}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Unfit(ValueError):
    """A column cannot hold the value exactly; the text is the reason."""


def to_column(kind: str, value: Scalar) -> Scalar:
    """Return the value for a column of this type, in lower case; ``Unfit`` if it cannot hold it exactly."""
    return None if value is None else WRITERS[kind](kind, value)


def from_column(kind: Any, value: Any) -> Scalar:
    """Return a column's value (``kind`` is the SDK's type) as a scalar; nested values as JSON text."""
    return scalar(_plain(kind, value))


def _write_text(_: str, value: Scalar) -> str:
    text = text_of(value)
    if len(text) > MAX_TEXT_BYTES // 4 and (size_bytes := len(text.encode())) > MAX_TEXT_BYTES:
        raise Unfit(f"{size_bytes} bytes of text; STRING holds {MAX_TEXT_BYTES}")
    return text


def _write_integer(kind: str, value: Scalar) -> int:
    if isinstance(value, bool):
        raise _unfit(kind, value)
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", value):
            raise _unfit(kind, value)
        value = int(value)
    if not isinstance(value, int | float) or value != int(value):
        raise _unfit(kind, value)
    smallest, largest = INTEGER_BOUNDS[kind]
    if not smallest <= value <= largest:
        raise _unfit(kind, value)
    return int(value)


def _write_number(kind: str, value: Scalar) -> float:
    if isinstance(value, bool):
        raise _unfit(kind, value)
    try:
        number = float(value)  # type: ignore[arg-type]  # a None was returned before
        stored = struct.unpack("<f", struct.pack("<f", number))[0] if kind == "float" else number
    except (ValueError, OverflowError):
        raise _unfit(kind, value) from None
    if not math.isfinite(stored) or (isinstance(value, int) and int(stored) != value):
        raise _unfit(kind, value)
    return number


def _write_boolean(kind: str, value: Scalar) -> bool:
    found = _BOOLEANS.get(text_of(value).lower())
    if found is None:
        raise _unfit(kind, value)
    return found


def _unfit(kind: str, value: Scalar) -> Unfit:
    return Unfit(f"{kind.upper()} cannot hold {value!r:.100}")


WRITERS: Mapping[str, Callable[[str, Scalar], Scalar]] = {
    TEXT: _write_text,
    **dict.fromkeys(INTEGER_BOUNDS, _write_integer),
    "double": _write_number,
    "float": _write_number,
    "boolean": _write_boolean,
}
"""The types of extra columns in an output table."""


def _plain(kind: Any, value: Any) -> Any:
    """Return JSON's values for a column's: maps and structs as objects, times and decimals as text."""
    if value is None:
        return None
    if isinstance(kind, types.Map):
        pairs = value.items() if isinstance(value, Mapping) else value
        return {text_of(_plain(kind.key_type, key)): _plain(kind.value_type, one) for key, one in pairs}
    if isinstance(kind, types.Struct):
        fields = value if isinstance(value, Mapping) else dict(zip(kind.field_types, value, strict=True))
        return {name: _plain(one, fields[name]) for name, one in kind.field_types.items()}
    if isinstance(kind, types.Array):
        return [_plain(kind.value_type, one) for one in value]
    return _single(kind, value)


def _single(kind: Any, value: Any) -> Any:
    match value:
        case datetime():
            elapsed = value.replace(tzinfo=UTC) - _EPOCH
            return moment(elapsed // timedelta(microseconds=1) * 1000, has_zone=kind != types.timestamp_ntz)
        case date():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case bytes():
            return value.decode("utf-8", "backslashreplace")
    return value


def moment(nanoseconds: int, *, has_zone: bool) -> str:
    """Return a time since 1970 as text: ``2025-01-15 12:00:00.5+00:00``, without trailing zeros."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(sep=" ")
    return whole + (f".{fraction:09d}".rstrip("0") if fraction else "") + ("+00:00" if has_zone else "")
