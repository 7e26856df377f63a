"""Shared parts of the commands: errors as one line with exit status 2, the ledger, the settings, the console."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import IO, Any, ParamSpec, TypeVar

import click
from kombu.exceptions import OperationalError
from rich.console import Console

from inference.errors import ManifestError, ProfilingError
from storage.errors import StorageError, Unavailable
from storage.ledger import Ledger
from tasks.node.embedded import BrokerError
from tasks.resources.redis import ledger_client
from tasks.settings import Settings, SettingsError, current

P = ParamSpec("P")
R = TypeVar("R")

PIPE_COLUMNS = 160

NO_BROKER = "start the fleet with `tamis up` in another shell, or point TAMIS_BROKER_URL at a running broker"


class OneLine(click.ClickException):
    """An error that is printed as one line on standard error, without traceback; exit status 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"tamis: {self.format_message()}", file=file, err=file is None)


def clear_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors that an operator can correct into :class:`OneLine`; bugs keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (SettingsError, ManifestError, ProfilingError, StorageError, BrokerError) as error:
            raise OneLine(str(error)) from error
        except OperationalError as error:
            raise OneLine(f"cannot reach the broker: {error}; {NO_BROKER}") from error

    return wrapped


def open_ledger() -> Ledger:
    """Return the ledger after a call that proves that it answers."""
    ledger = Ledger(ledger_client(settings()))
    try:
        ledger.runs()
    except Unavailable as error:
        raise OneLine(f"{str(error).rstrip('.')}; {NO_BROKER}") from error
    return ledger


def settings() -> Settings:
    """Return the settings. celeryconfig has parsed them before, so mistakes were reported there."""
    return current()


def open_console() -> Console:
    """Return a console as wide as the terminal; without a terminal, wide enough for tables."""
    return Console(width=None if Console().is_terminal else PIPE_COLUMNS)
