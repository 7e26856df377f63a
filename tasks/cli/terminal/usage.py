"""Shared parts of the commands: errors as one line with exit status 2, the ledger, the settings, the console."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from typing import IO, Any, ParamSpec, TypeVar

import click
from kombu.exceptions import OperationalError
from rich.console import Console

from inference.errors import ManifestError, ProfilingError, TrainingError
from storage.errors import StorageError, Unavailable
from storage.ledger import Ledger
from tasks.node.embedded import BrokerError
from tasks.resources.redis import ledger_client
from tasks.settings import Settings, SettingsError, current
from tasks.telemetry.printable import printable

P = ParamSpec("P")
R = TypeVar("R")

PIPE_COLUMNS = 4096  # without a terminal nothing is wrapped


class OneLine(click.ClickException):
    """An error that is printed as one line on standard error, without traceback; exit status 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"tamis: {printable(self.format_message())}", file=file, err=file is None)


def no_broker() -> str:
    """Return the remedy for a broker that does not answer; it names the state directory of an embedded one."""
    chosen = settings()
    if not chosen.broker.needs_embedded_server:
        return "start the broker, or correct TAMIS_BROKER_URL; `tamis up` without that setting starts one"
    return (
        f"no fleet is up in the state directory {chosen.node.state_dir}: start it with `tamis up`, set TAMIS_STATE_DIR "
        "to the fleet's directory, or point TAMIS_BROKER_URL at a running broker"
    )


def clear_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors that an operator can correct into :class:`OneLine`; bugs keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (SettingsError, ManifestError, ProfilingError, TrainingError, StorageError, BrokerError) as error:
            raise OneLine(str(error)) from error
        except OperationalError as error:
            raise OneLine(f"cannot reach the broker: {error}; {no_broker()}") from error

    return wrapped


def open_ledger() -> Ledger:
    """Return the ledger after a call that proves that it answers."""
    ledger = Ledger(ledger_client(settings()))
    try:
        ledger.runs()
    except Unavailable as error:
        raise OneLine(f"{str(error).rstrip('.')}; {no_broker()}") from error
    return ledger


def settings() -> Settings:
    """Return the settings. celeryconfig has parsed them before, so mistakes were reported there."""
    return current()


def open_console() -> Console:
    """Return the console of results, on standard output: as wide as the terminal, or as ``COLUMNS`` says."""
    return Console(width=shutil.get_terminal_size((PIPE_COLUMNS, 0)).columns)


def open_progress_console() -> Console:
    """Return the console of progress, notices and warnings, on standard error."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=PIPE_COLUMNS)
