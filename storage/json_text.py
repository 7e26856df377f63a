"""Strict JSON, and values every store can hold: what passes here can neither poison a batch nor change on its way."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

Scalar = str | int | float | bool | None

MAX_DEPTH = 100  # SQLite's and others' JSON functions refuse far less than Python's parser takes
_INT64 = 2**63


def read(text: str) -> Any:
    """Parse; ``ValueError`` for what JSON forbids (NaN, Infinity, half a surrogate pair) or is nested too deeply."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    if "\\u" in text or not text.isascii():
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def write(value: object) -> str:
    """Compact, keys sorted, equal text for equal values; ``ValueError`` for NaN and Infinity."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def clean(text: str) -> str:
    r"""Make text UTF-8 can encode: half a surrogate pair (an undecodable file name has some) becomes ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


def scalar(value: object) -> Scalar:
    """Bring a table's value to one that JSON and every table can carry; a list or mapping becomes its JSON text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | dict):
        return clean(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str))
    return clean(str(value))


def text_of(value: Scalar) -> str:
    """Bring a scalar to text: ``None`` is empty, ``True`` is ``true``."""
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) else json.dumps(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is out of range")
    return number


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
