"""``--json`` of commands that report: one JSON document on standard output, and nothing else there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add ``--json``, as the parameter ``is_json``."""
    return click.option("--json", "is_json", is_flag=True, help="Print one JSON document instead of text.")(command)


def print_json(value: object) -> None:
    """Print a document of plain values, dataclasses, times (ISO 8601), paths and sets."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, Path):
        return str(value)
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)
