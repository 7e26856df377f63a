"""``--config FILE``: a command's options from a TOML file. The command line goes first; unknown keys are errors."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tasks.cli.terminal.usage import OneLine

Command = TypeVar("Command", bound=Callable[..., Any])

ITSELF = "config"


def config_option(command: Command) -> Command:
    """Add ``--config FILE``, whose keys are the command's options and arguments."""
    return click.option(
        f"--{ITSELF}",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_take_defaults,
        help="Options from a TOML file, such as limit = 100; an option on the command line goes first.",
    )(command)


def _take_defaults(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.default_map = {**(context.default_map or {}), **options_of(path, context)}


def options_of(path: Path, context: click.Context) -> dict[str, Any]:
    """Return parameter name -> value of a file; ``OneLine`` for a file that cannot be read and for unknown keys."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OneLine(f"--config {path}: {getattr(error, 'strerror', None) or error}") from error
    names = dict(_keys(context))
    if unknown := [key for key in given if _plain(key) not in names]:
        raise OneLine(f"--config {path}: {'; '.join(_unknown(key, names) for key in unknown)}")
    if tables := [key for key, value in given.items() if isinstance(value, dict)]:
        raise OneLine(f"--config {path}: {', '.join(tables)} must be a value, not a table")
    return {names[_plain(key)]: value for key, value in given.items()}


def _keys(context: click.Context) -> list[tuple[str, str]]:
    """Return (key, parameter name) of everything that the command takes."""
    found = []
    for parameter in context.command.get_params(context):
        if parameter.name in {None, ITSELF} or "--help" in parameter.opts:
            continue
        words = parameter.opts if isinstance(parameter, click.Option) else [parameter.human_readable_name.strip("[]….")]
        found += [(_plain(word.strip("-").lower()), parameter.name) for word in words]
    return found


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _unknown(key: str, names: dict[str, str]) -> str:
    close = difflib.get_close_matches(_plain(key), names, n=1)
    return f"unknown key {key!r}" + (f", did you mean {close[0]}?" if close else f" (keys: {', '.join(sorted(names))})")
