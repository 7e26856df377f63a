"""Strict JSON, and values that every store can hold: a value accepted here reads back unchanged from any table."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

Scalar = str | int | float | bool | None

MAX_DEPTH = 100  # the JSON functions of SQLite and MaxCompute refuse nesting that Python's parser accepts
_INT64 = 2**63


def read(text: str) -> Any:
    """Parse JSON; ``ValueError`` for NaN, Infinity, half a surrogate pair, and nesting over ``MAX_DEPTH`` levels."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(text, value)
    if "\\u" in text or not text.isascii():
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def write(value: object) -> str:
    """Write compact JSON with sorted keys, so that equal values give equal text; ``ValueError`` for NaN, Infinity."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def clean(text: str) -> str:
    r"""Replace halves of surrogate pairs, as in undecodable file names, by ``\udcff``, so that UTF-8 can encode it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def scalar(value: object) -> Scalar:
    """Convert a table's value to one that JSON and every table can hold; a list or mapping becomes its JSON text."""
    if value is None or isinstance(value, str | bool):
        return clean(value) if isinstance(value, str) else value
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
    """Convert a scalar to text: ``None`` becomes empty text, ``True`` becomes ``true``."""
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


def _check_depth(text: str, value: object) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _containers(value: object) -> list[object]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in children if isinstance(child, dict | list)]


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
