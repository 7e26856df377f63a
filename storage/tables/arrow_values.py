"""Python values of Arrow columns, including those that Python or UTF-8 cannot represent."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_UNREPRESENTABLE = (ValueError, OverflowError, pa.ArrowException)


def values_of(column: Any) -> list[Any]:
    """Return the column's values: bytes for text that is not UTF-8, and text for times out of Python's range."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(one) for one in column.cast(_with_bytes(column.type))]
    except _UNREPRESENTABLE:
        return [_value(one) for one in column]


def _value(one: Any) -> Any:
    try:
        return one.as_py()
    except _UNREPRESENTABLE:
        pass
    try:
        return one.cast(pa.string()).as_py()
    except _UNREPRESENTABLE:
        return str(getattr(one, "value", one))


def _with_bytes(kind: Any) -> Any:
    """Return the type with binary values in the place of text."""
    if pa.types.is_map(kind):
        return pa.map_(_with_bytes(kind.key_type), _with_bytes(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_with_bytes(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_with_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _with_bytes(field.type)) for field in kind])
    if pa.types.is_dictionary(kind):
        return _with_bytes(kind.value_type)
    return {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(kind, kind)
