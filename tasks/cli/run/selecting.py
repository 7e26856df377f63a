"""Options that choose rows of the input: ``--where``, ``--sample`` and ``--limit``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def selection_options(command: Command) -> Command:
    """Add the options, as the parameters ``where``, ``sample`` and ``limit``."""
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows of those."),
        click.option("--sample", metavar="SHARE", help="Only a share of them, such as 1%; the same rows each time."),
        click.option(
            "--where",
            metavar="CONDITION",
            help="Only rows that meet it: \"tag = 'street' AND NOT path LIKE 'old/%'\" (docs/commands.md).",
        ),
    ):
        command = option(command)
    return command
