"""How MaxCompute is reached: where, as whom, and with how much patience. Nothing of the SDK is loaded here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from storage.aliyun.credentials import CredentialProvider
from storage.errors import UsageError
from storage.tables.batch_journal import BatchJournal, MemoryJournal

NewTables = Literal["append", "delta"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a service that is slow, busy or away, before the caller is told ``Unavailable``.

    ``retry_seconds`` bounds the retries of one request, waits that the server asked for included. The SDK's own
    retries (for ever after a 429) are switched off.
    """

    retry_seconds: float = 60.0
    first_wait_seconds: float = 0.25  # doubles, up to the longest
    longest_wait_seconds: float = 8.0
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    statement_seconds: float = 900.0  # of one SQL statement, its time in the queue included


@dataclass(frozen=True, slots=True)
class OdpsConnection:
    """A MaxCompute service. ``new_tables``: what an output table that is missing is made."""

    endpoint: str
    provider: CredentialProvider = field(repr=False)
    tunnel_endpoint: str | None = None  # default: the service names it
    new_tables: NewTables = "append"
    patience: Patience = Patience()
    journal: BatchJournal = field(default_factory=MemoryJournal, repr=False, compare=False)

    def __post_init__(self) -> None:
        for endpoint in filter(None, (self.endpoint, self.tunnel_endpoint)):
            _check_endpoint(endpoint)


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        shown = endpoint.rpartition("@")[2]  # whatever stands before an '@' may be a password
        raise UsageError(
            f"MaxCompute endpoint {shown!r} is not an address: write it as "
            f"https://service.cn-hangzhou.maxcompute.aliyun.com/api"
        )
