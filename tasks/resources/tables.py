"""Tables, opened by the settings. A process has one connection to MaxCompute."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from storage.errors import UsageError
from storage.ledger import RedisJournal
from storage.tables import open as opening
from storage.tables.odps.connection import OdpsConnection, OdpsTimeLimits
from storage.tables.protocol import InputTable, OutputTable
from storage.tables.version import InputVersion
from storage.uri import TableUrl
from tasks import settings as process_settings
from tasks.resources.credentials import aliyun_credentials
from tasks.resources.redis import ledger_client
from tasks.settings import Settings

NO_ENDPOINT = (
    "odps:// tables need TAMIS_ODPS_ENDPOINT, for example https://service.cn-hangzhou.maxcompute.aliyun.com/api, "
    "and credentials (TAMIS_ALIYUN_…)"
)


def open_input(
    url: str,
    settings: Settings | None = None,
    version: InputVersion | None = None,
    selection: str = "",
    columns: Sequence[str] = (),
) -> InputTable:
    """Open one partition, or a selection of it, for reading, with ``settings`` or else those of the process.

    ``columns``: see :func:`storage.tables.open.open_input`.
    """
    return opening.open_input(url, _connection(url, settings), version, selection, columns)


def open_output(url: str, settings: Settings | None = None) -> OutputTable:
    """Open one partition for writing, with ``settings`` or else those of the process."""
    return opening.open_output(url, _connection(url, settings))


def _connection(url: str, settings: Settings | None) -> OdpsConnection | None:
    parsed = TableUrl.parse(url)
    return odps_connection(settings or process_settings.current()) if parsed.scheme == "odps" else None


@lru_cache(maxsize=4)  # settings do not change; the cached object opens no connection by itself
def odps_connection(settings: Settings) -> OdpsConnection:
    """Return the MaxCompute service of the settings; ``UsageError`` without an endpoint or credentials."""
    if settings.odps.endpoint is None:
        raise UsageError(NO_ENDPOINT)
    return OdpsConnection(
        endpoint=settings.odps.endpoint,
        provider=aliyun_credentials(settings),
        tunnel_endpoint=settings.odps.tunnel_endpoint,
        new_tables=settings.odps.new_tables,
        limits=OdpsTimeLimits(
            retry_seconds=settings.odps.retry_seconds, statement_seconds=settings.odps.statement_seconds
        ),
        journal=RedisJournal(ledger_client(settings)),
    )
