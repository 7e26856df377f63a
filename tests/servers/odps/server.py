"""A MaxCompute service on loopback, for an unmodified SDK.

    with OdpsServer() as server:
        server.create_table("videos", {"video_id": "string"}, partitions={"ds": "string"})
        server.insert("videos", [{"video_id": "a"}], "ds=20250115")
        odps = ODPS(server.access_id, server.secret, server.project, server.endpoint)

It has no quotas and no permissions, and accepts every date in a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.servers.faults import Faults
from tests.servers.odps import meta
from tests.servers.odps.instances import Instances, instance, submit
from tests.servers.odps.refusals import Refusal, refused
from tests.servers.odps.schema import ServedSchema, columns_of, spec_text
from tests.servers.odps.sessions import Sessions, request_id
from tests.servers.odps.signature import AcceptedKeys
from tests.servers.odps.sql import Statement, execute
from tests.servers.odps.store import Store
from tests.servers.odps.tunnel_download import DownloadSession, download_from_table
from tests.servers.odps.tunnel_upload import UploadSession, upload_to_table
from tests.servers.odps.upsert import UpsertSession, upsert_to_table
from tests.servers.odps.values import restored, stored
from tests.servers.wire import LoggedRequest, Request, Response, WireServer


class OdpsServer:
    """The server of one project. The tunnel has the same address as the service."""

    def __init__(
        self,
        *,
        project: str = "sieve",
        access_id: str = "access-id",
        secret: str = "secret",
        sts_token: str | None = None,
        faults: Faults | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.project = project
        self.credentials = AcceptedKeys(access_id, secret, sts_token)
        self._store = Store()
        self.statements = Instances()
        self.false_commits: list[str] = []  # statuses that the next commits report in place of being applied
        self._downloads: Sessions[DownloadSession] = Sessions("download", "NoSuchDownload", now)
        self._uploads: Sessions[UploadSession] = Sessions("upload", "NoSuchUpload", now)
        self._upserts: Sessions[UpsertSession] = Sessions("upsert", "UpsertSessionNotFound", now)
        self._wire = WireServer(self._respond, faults=faults)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._wire.close()
        self._store.close()

    @property
    def endpoint(self) -> str:
        """The URL of the service and of the tunnel."""
        return self._wire.url

    @property
    def access_id(self) -> str:
        """The access key's id."""
        return self.credentials.access_id

    @property
    def secret(self) -> str:
        """The access key's secret."""
        return self.credentials.secret

    @property
    def faults(self) -> Faults:
        """The rules of injected faults."""
        return self._wire.faults

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests received so far."""
        return self._wire.requests

    def create_table(
        self,
        name: str,
        columns: Mapping[str, str],
        *,
        partitions: Mapping[str, str] | None = None,
        primary_key: Sequence[str] = (),
        is_transactional: bool = False,
    ) -> None:
        """Create a table from names and types; with a primary key, a Delta table."""
        key = tuple(column.lower() for column in primary_key)
        is_transactional = is_transactional or bool(key)
        self._store.create(
            name.lower(), ServedSchema(columns_of(columns), columns_of(partitions or {}), key, is_transactional)
        )

    def replace_columns(self, name: str, columns: Mapping[str, str]) -> None:
        """Give a table other columns; rows keep their values of columns that stay."""
        self._store.replace_columns(name.lower(), columns_of(columns))

    def insert(
        self, table: str, rows: Iterable[Mapping[str, object]], partition: str = "", *, is_overwrite: bool = False
    ) -> None:
        """Append rows to a partition, created if missing. Columns that a row does not name are NULL."""
        schema = self._store.table(table).schema
        ready = [tuple(stored(one.type, row.get(one.name)) for one in schema.columns) for row in rows]
        self._store.write(table.lower(), schema.spec(partition), ready, is_overwrite=is_overwrite)

    def rows(self, table: str, partition: str = "") -> list[dict[str, object]]:
        """Return a partition's rows in the order of insertion; datetimes in UTC."""
        schema = self._store.table(table).schema
        found = self._store.rows(table.lower(), self._store.partition(table, partition))
        named = [zip(schema.columns, row, strict=True) for row in found]
        return [{one.name: restored(one.type, value) for one, value in row} for row in named]

    def tables(self) -> list[str]:
        """Return the names of the tables and views."""
        return sorted(self._store.tables)

    def query(self, text: str) -> list[dict[str, object]]:
        """Return the rows of a SELECT."""
        found = execute(self._store, Statement(self.project, text))
        return [dict(zip(found.schema.names, row, strict=True)) for row in found.rows] if found else []

    def count(self, table: str, partition: str = "") -> int:
        """Return the number of rows in a partition, 0 for a missing one."""
        spec = self._store.table(table).schema.spec(partition)
        return self._store.count(table.lower(), spec)

    def partitions(self, table: str) -> list[str]:
        """Return the existing partitions, such as ``ds=20250115``."""
        return sorted(spec_text(spec) for spec in self._store.table(table).partitions)

    def expire_sessions(self, *, is_forgotten: bool = False) -> None:
        """End every open session as after a day: reported as expired, or with ``is_forgotten`` unknown."""
        for sessions in (self._downloads, self._uploads, self._upserts):
            sessions.forget() if is_forgotten else sessions.expire()

    def _respond(self, request: Request) -> Response:
        try:
            self.credentials.check(request)
            return self._route(request)
        except Refusal as refusal:
            return refused(refusal)
        except Exception as error:  # noqa: BLE001 - a bug of this server must fail the test, not look like a lost connection
            return refused(Refusal(400, "TestServerBroken", f"{type(error).__name__}: {error}"))

    def _route(self, request: Request) -> Response:
        match request.path.strip("/").split("/"):
            case ["tenants"]:
                return meta.tenant()
            case ["logview", "host"]:
                return Response(200, self.endpoint.encode(), request_id())
            case ["projects", project, *rest] if project == self.project:
                return self._route_in_project(request, rest)
            case ["projects", project, *_]:
                raise Refusal(404, "NoSuchProject", f"ODPS-0420111: Project not found - '{project}'.")
        raise Refusal(400, "InvalidArgument", f"The test server knows no {request.path}")

    def _route_in_project(self, request: Request, rest: Sequence[str]) -> Response:
        match rest:
            case ["tables", *names]:
                return self._route_in_tables(request, names)
            case ["instances"]:
                return submit(self._store, self.statements, self.project, request)
            case ["instances", name]:
                return instance(self.statements, self._downloads, name, request)
            case []:
                return meta.project(self.project)
            case ["tunnel"]:
                return Response(200, self._wire.address.encode(), request_id())
        raise Refusal(400, "InvalidArgument", f"The test server knows no {request.method} {request.path}")

    def _route_in_tables(self, request: Request, names: Sequence[str]) -> Response:
        match names:
            case []:
                return meta.tables(self._store, request)
            case [table, "upserts"]:
                return upsert_to_table(self._store, self._upserts, self._wire.address, table, request)
            case [table] if request.query.keys() & {"downloads", "downloadid"}:
                return download_from_table(self._store, self._downloads, table, request)
            case [table] if request.query.keys() & {"uploads", "uploadid"}:
                return upload_to_table(self._store, self._uploads, self.false_commits, table, request)
            case [table]:
                return meta.table(self._store, table, request)
        raise Refusal(400, "InvalidArgument", f"The test server knows no {request.method} {request.path}")
