"""A MaxCompute service for tests: the wire server on loopback, or a real one named by the environment.

    TAMIS_TEST_ODPS_ENDPOINT            https://service.<region>.maxcompute.aliyun.com/api
    TAMIS_TEST_ODPS_PROJECT             a project in which the keys may create, write, read and drop tables
    TAMIS_TEST_ODPS_ACCESS_KEY_ID       and
    TAMIS_TEST_ODPS_ACCESS_KEY_SECRET   the keys
    TAMIS_TEST_ODPS_TUNNEL_ENDPOINT     optional

Tables are named tamis_test_… and have a lifecycle of one day.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from subprocess import PIPE
from typing import Any

from odps import ODPS
from odps.models import TableSchema

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.records import Record
from storage.tables.odps.connection import NewTables, OdpsConnection, OdpsTimeLimits
from tests.servers.odps.server import OdpsServer

ROOT = Path(__file__).parents[5]
PREFIX = "TAMIS_TEST_ODPS_"
QUICK = OdpsTimeLimits(retry_seconds=20, first_wait_seconds=0.001, longest_wait_seconds=0.01)
_SERVE = """
import sys
from tests.servers.odps.server import OdpsServer
with OdpsServer() as server:
    print(server.endpoint, server.project, server.access_id, server.secret, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Service:
    project: str
    keys: Credentials
    endpoint: str
    tunnel_endpoint: str | None
    limits: OdpsTimeLimits
    server: OdpsServer | None = None  # None for a real service
    _entries: list[Any] = field(default_factory=list)

    def connection(self, new_tables: NewTables = "append", **changes: Any) -> OdpsConnection:
        fields = {"limits": self.limits, "new_tables": new_tables} | changes
        return OdpsConnection(self.endpoint, StaticProvider(self.keys), self.tunnel_endpoint, **fields)

    @property
    def entry(self) -> ODPS:
        """A separate SDK client, independent of the code under test."""
        if not self._entries:
            self._entries.append(
                ODPS(
                    self.keys.access_key_id,
                    self.keys.access_key_secret,
                    self.project,
                    self.endpoint,
                    tunnel_endpoint=self.tunnel_endpoint,
                    logview_host="http://localhost",
                    overwrite_global=False,
                )
            )
        return self._entries[0]

    def fill(
        self, table: str, records: Sequence[Record], spec: str = "ds=20250115", types: Mapping[str, str] | None = None
    ) -> None:
        """Append records to a partition of a table, which is created where it is missing."""
        names = list(records[0])
        keys = [part.partition("=")[0] for part in spec.split(",")]
        schema = TableSchema.from_lists(
            names, [(types or {}).get(name, "string") for name in names], keys, ["string"] * len(keys)
        )
        self.entry.create_table(table, schema, if_not_exists=True, lifecycle=1)
        self.entry.write_table(
            table, [list(record.values()) for record in records], partition=spec, create_partition=True
        )


def table_of(directory: Path, kind: str) -> str:
    """A table name for this directory alone."""
    return f"tamis_test_{kind}_{sha256(str(directory).encode()).hexdigest()[:16]}"


@contextmanager
def odps_service() -> Iterator[Service]:
    """Yield the service that the environment names, or a server in its own process (so memory is measured apart)."""
    given = {name.removeprefix(PREFIX): value for name, value in os.environ.items() if name.startswith(PREFIX)}
    if given:
        keys = Credentials(given["ACCESS_KEY_ID"], given["ACCESS_KEY_SECRET"])
        yield Service(given["PROJECT"], keys, given["ENDPOINT"], given.get("TUNNEL_ENDPOINT"), OdpsTimeLimits())
    else:
        with subprocess.Popen([sys.executable, "-c", _SERVE], cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            endpoint, project, access_id, secret = process.stdout.readline().split()
            yield Service(project, Credentials(access_id, secret), endpoint, endpoint, QUICK)
            process.stdin.close()  # it ends


@contextmanager
def odps_server(**options: Any) -> Iterator[Service]:
    """Start a server in this process, so that a test can set faults and end sessions."""
    with OdpsServer(**options) as server:
        keys = Credentials(server.access_id, server.secret)
        yield Service(server.project, keys, server.endpoint, server.endpoint, QUICK, server)
