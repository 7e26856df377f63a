"""From a URL to a table."""

from __future__ import annotations

from storage.errors import UsageError
from storage.tables.files import TextInput
from storage.tables.protocol import InputTable, OutputTable
from storage.tables.sqlite_input import SqliteInput
from storage.tables.sqlite_output import SqliteOutput
from storage.uri import FILE_SUFFIXES, TableUrl

READABLE = f"sqlite:///FILE.db#TABLE/ds=DAY and files ending in {', '.join(FILE_SUFFIXES)}"
WRITABLE = "sqlite:///FILE.db#TABLE/ds=DAY"


def open_input(url: str | TableUrl) -> InputTable:
    """Open one partition for reading; ``UsageError`` where there is none."""
    parsed = _parsed(url)
    if parsed.scheme == "sqlite":
        return SqliteInput(parsed)
    if parsed.scheme == "odps":
        raise UsageError(f"{parsed}: odps:// tables cannot be read here yet. Readable: {READABLE}")
    if parsed.suffix == ".parquet":
        from storage.tables.parquet import ParquetInput  # pyarrow costs a process 100 MB: load it where it is needed

        return ParquetInput(parsed)
    return TextInput(parsed)


def open_output(url: str | TableUrl) -> OutputTable:
    """Address one partition for writing. Nothing is created before ``prepare``."""
    parsed = _parsed(url)
    if parsed.scheme == "sqlite":
        return SqliteOutput(parsed)
    if parsed.scheme == "odps":
        raise UsageError(f"{parsed}: odps:// tables cannot be written here yet. Writable: {WRITABLE}")
    raise UsageError(
        f"{parsed}: a file cannot be an output, for two writers would overwrite each other. "
        f"Write to {WRITABLE}, then export: tamis runs RUN --export {parsed.location}"
    )


def _parsed(url: str | TableUrl) -> TableUrl:
    return url if isinstance(url, TableUrl) else TableUrl.parse(url)
