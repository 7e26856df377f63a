"""Opening a table by its URL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from storage.errors import UsageError
from storage.tables.files.text import TextInput
from storage.tables.protocol import InputTable, OutputTable
from storage.tables.selection.selection import RowSelection, select
from storage.tables.sqlite.input import SqliteInput
from storage.tables.sqlite.output import SqliteOutput
from storage.tables.version import InputVersion, check_version
from storage.uri import TableUrl

if TYPE_CHECKING:
    from storage.tables.odps.connection import OdpsConnection

WRITABLE = "sqlite:///FILE.db#TABLE/ds=DAY or odps://PROJECT/TABLE/ds=DAY"

# Files that load an SDK or pyarrow are imported late: either takes 100 MB of memory.


def open_input(
    url: str | TableUrl,
    odps: OdpsConnection | None = None,
    version: InputVersion | None = None,
    selection: str = "",
    columns: Sequence[str] = (),
) -> InputTable:
    """Open a partition for reading; ``UsageError`` for a missing one. ``odps://`` URLs need ``odps``.

    With ``version``, the rows are those of that version, at its positions, or ``UsageError`` says that they changed.
    With ``selection``, the JSON of a :class:`~storage.tables.selection.selection.RowSelection`, they are some of those.
    With ``columns``, only these are wanted, and SQLite reads no others.
    """
    table = _open_input(_parsed(url), odps, version, columns)
    with ExitStack() as opened:
        opened.callback(table.close)
        if version is not None:
            check_version(table, version)
        chosen = select(table, RowSelection.from_json(selection))
        opened.pop_all()
    return chosen


def _open_input(
    parsed: TableUrl, odps: OdpsConnection | None, version: InputVersion | None, columns: Sequence[str]
) -> InputTable:
    if parsed.scheme == "sqlite":
        return SqliteInput(parsed, columns=columns)
    if parsed.scheme == "odps":
        connection = _connection(parsed, odps)
        from storage.tables.odps.input import OdpsInput

        return OdpsInput(parsed, connection, version)
    if parsed.suffix == ".parquet":
        from storage.tables.files.parquet import ParquetInput

        return ParquetInput(parsed)
    return TextInput(parsed)


def open_output(url: str | TableUrl, odps: OdpsConnection | None = None) -> OutputTable:
    """Return a partition to write to. Nothing is created before ``prepare``. ``odps://`` URLs need ``odps``."""
    parsed = _parsed(url)
    if parsed.scheme == "sqlite":
        return SqliteOutput(parsed)
    if parsed.scheme == "odps":
        connection = _connection(parsed, odps)
        from storage.tables.odps.output.table import OdpsOutput

        return OdpsOutput(parsed, connection)
    raise UsageError(
        f"{parsed}: a file cannot be an output, because two writers would overwrite each other. "
        f"Write to {WRITABLE}, then export: tamis runs RUN --export {parsed.location}"
    )


def _connection(url: TableUrl, odps: OdpsConnection | None) -> OdpsConnection:
    if find_spec("odps") is None:
        raise UsageError(f"{url}: the MaxCompute SDK is not installed: pip install 'tamis[aliyun]'")
    if odps is None:
        raise UsageError(
            f"{url}: no MaxCompute endpoint is configured: set TAMIS_ODPS_ENDPOINT (and the credentials), "
            f"for example https://service.cn-hangzhou.maxcompute.aliyun.com/api"
        )
    return odps


def _parsed(url: str | TableUrl) -> TableUrl:
    return url if isinstance(url, TableUrl) else TableUrl.parse(url)
