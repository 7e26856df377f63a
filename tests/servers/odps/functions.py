"""Functions of MaxCompute's SQL that SQLite lacks."""

from __future__ import annotations

import json
import re
import sqlite3
import time


def register(connection: sqlite3.Connection) -> None:
    """Register the functions with a connection."""
    connection.create_function("get_json_object", 2, get_json_object, deterministic=True)
    connection.create_function("nvl", 2, lambda value, other: other if value is None else value, deterministic=True)
    connection.create_function("concat", -1, concat, deterministic=True)
    connection.create_function("unix_timestamp", 0, lambda: int(time.time()))


def get_json_object(text: str | None, path: str | None) -> str | None:
    """Return the value at ``$.a.b[0]`` as a string; NULL for a missing value or invalid JSON."""
    if text is None or path is None or not path.startswith("$"):
        return None
    try:
        found = json.loads(text)
        for name, place in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
            found = found[name] if name else found[int(place)]
    except (ValueError, LookupError, TypeError):
        return None
    if found is None or isinstance(found, str):
        return found
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def concat(*values: object) -> str | None:
    """Concatenate the values; NULL if one of them is NULL."""
    return None if None in values else "".join(map(str, values))
