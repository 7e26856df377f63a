"""One process's access to a MaxCompute project: the SDK's objects, built at first use and never carried over a fork."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from odps import ODPS, options
from odps.tunnel import InstanceTunnel, TableTunnel

from storage.tables.odps.connection import OdpsConnection
from storage.tables.odps.errors import reported
from storage.tables.odps.rest import PatientRest, RenewedAccount
from storage.uri import TableUrl

LOGVIEW = "https://logview.aliyun.com"  # named, or the SDK asks the service for it; nothing here shows it


@dataclass(frozen=True, slots=True)
class Client:
    """The SDK's entry points to one project. The tunnels move rows, the entry does everything else."""

    entry: Any
    tables: Any
    instances: Any


class OdpsTable:
    """The table behind a URL, as the SDK sees it. Safe to share between threads; forked children open their own."""

    def __init__(self, url: TableUrl, connection: OdpsConnection) -> None:
        self.url, self.connection = url, connection
        self.project, _, self.schema = url.location.partition(".")
        self.name = str(url.table)
        self._client: tuple[int, Client] | None = None

    @property
    def client(self) -> Client:
        """This process's client."""
        process = os.getpid()
        if self._client is None or self._client[0] != process:
            self._client = process, self._connect()
        return self._client[1]

    @property
    def handle(self) -> Any:
        """A fresh handle on the table: it asks the service at first use."""
        return self.client.entry.get_table(self.name, schema=self.schema or None)

    @property
    def quoted(self) -> str:
        """The name in SQL, which runs in the project."""
        return ".".join(f"`{name}`" for name in (self.schema, self.name) if name)

    def close(self) -> None:
        """Let go of the connections. The next use opens new ones."""
        self._client = None

    def _connect(self) -> Client:
        # The SDK's own retries would come on top of ours; it would renew each upsert session by a thread of its own.
        options.retry_times, options.retry_delay = 0, 0.0
        options.tunnel.upsert_keepalive_interval = 86_400
        connection, account = self.connection, RenewedAccount(self.connection.provider)
        ours: dict[str, Any] = {"patience": connection.patience, "provider": connection.provider}
        entry = ODPS(
            account=account,
            project=self.project,
            schema=self.schema or None,
            endpoint=connection.endpoint,
            logview_host=LOGVIEW,
            rest_client_cls=PatientRest,
            rest_client_kwargs=ours,
            overwrite_global=False,
        )
        with reported(self.url, connection.provider):
            endpoint = connection.tunnel_endpoint or _tunnel_endpoint(entry)
        rest = PatientRest(account, endpoint, self.project, tag="TUNNEL", **ours)
        return Client(entry, _tunnel(TableTunnel, entry, rest), _tunnel(InstanceTunnel, entry, rest))


def _tunnel(kind: Any, entry: Any, rest: PatientRest) -> Any:
    tunnel = kind(entry, endpoint=rest.endpoint)
    tunnel._tunnel_rest = rest  # noqa: SLF001 - the SDK takes no other client here, and its own retries for ever
    return tunnel


def _tunnel_endpoint(entry: Any) -> str:
    answer = entry.rest.get(f"{entry.get_project().resource()}/tunnel", action="service")
    return f"{urlsplit(entry.endpoint).scheme}://{answer.text.strip()}"
