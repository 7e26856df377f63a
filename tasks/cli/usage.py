"""An operator's mistake ends as one line that names the value and the remedy, and exit status 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import IO, Any, ParamSpec, TypeVar

import click
from kombu.exceptions import OperationalError

from inference.errors import ManifestError
from storage.errors import StorageError
from tasks.settings import Settings, SettingsError, current

P = ParamSpec("P")
R = TypeVar("R")

NO_BROKER = "start the fleet with `tamis up` in another shell, or point TAMIS_BROKER_URL at a running Redis"


class OneLine(click.ClickException):
    """A clear error: one line on standard error, exit status 2, no traceback."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"tamis: {self.format_message()}", file=file, err=file is None)


def clear_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors an operator can mend into :class:`OneLine`; bugs keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (SettingsError, ManifestError, StorageError) as error:
            raise OneLine(str(error)) from error
        except OperationalError as error:
            raise OneLine(f"cannot reach the broker: {error}; {NO_BROKER}") from error

    return wrapped


def settings() -> Settings:
    """Return the settings; celeryconfig has parsed them already, so a mistake was reported before this."""
    return current()
