"""Connection settings of a MaxCompute service: endpoint, keys and time limits. This file does not load the SDK."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from storage.aliyun.credentials import CredentialProvider
from storage.errors import UsageError
from storage.tables.batch_journal import BatchJournal, MemoryJournal

NewTables = Literal["append", "delta"]


@dataclass(frozen=True, slots=True)
class OdpsTimeLimits:
    """Limits on waiting for a service that is slow, busy or down; after them ``Unavailable`` is raised.

    ``retry_seconds`` bounds the retries of one request, including waits that the server asks for. The SDK's own
    retries, which never end after a 429, are switched off.
    """

    retry_seconds: float = 60.0
    first_wait_seconds: float = 0.25  # doubles, up to the longest
    longest_wait_seconds: float = 8.0
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    reply_seconds: float = 120.0  # of one whole reply: a reply may trickle within the read timeout
    statement_seconds: float = 900.0  # of one SQL statement, including its time in the queue


@dataclass(frozen=True, slots=True)
class OdpsConnection:
    """A MaxCompute service. ``new_tables``: the kind of a missing output table that is created."""

    endpoint: str
    provider: CredentialProvider = field(repr=False)
    tunnel_endpoint: str | None = None  # default: the service names it
    new_tables: NewTables = "append"
    limits: OdpsTimeLimits = OdpsTimeLimits()
    journal: BatchJournal = field(default_factory=MemoryJournal, repr=False, compare=False)

    def __post_init__(self) -> None:
        for endpoint in filter(None, (self.endpoint, self.tunnel_endpoint)):
            _check_endpoint(endpoint)


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        shown = endpoint.rpartition("@")[2]  # the text before an '@' may be a password
        raise UsageError(
            f"MaxCompute endpoint {shown!r} is not an address: write it as "
            f"https://service.cn-hangzhou.maxcompute.aliyun.com/api"
        )
