"""MaxCompute client of one process: the SDK's objects, built at first use and never inherited by a forked child."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from weakref import ref

import requests
from odps import ODPS, options
from odps.accounts import CloudAccount, StsAccount
from odps.rest import RestClient
from odps.tunnel import InstanceTunnel, TableTunnel
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from storage.aliyun.credentials import CredentialProvider, Credentials
from storage.backoff import Backoff
from storage.errors import Unavailable
from storage.tables.odps.connection import OdpsConnection, OdpsTimeLimits
from storage.tables.odps.errors import SDK_ERRORS, described, is_passing, reported, retry_after_seconds
from storage.uri import TableUrl

LOGVIEW = "https://logview.aliyun.com"  # set, so that the SDK does not ask the service for it; it is never shown


@dataclass(frozen=True, slots=True)
class Client:
    """The SDK's entry points to a project: tunnels for rows, ``entry`` for everything else."""

    entry: Any
    tables: Any
    instances: Any


class OdpsTable:
    """The table of a URL in the SDK. Safe to share between threads; forked children open their own connections."""

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
        """A new handle on the table; it asks the service at first use."""
        return self.client.entry.get_table(self.name, schema=self.schema or None)

    @property
    def latest(self) -> OdpsTable:
        """The view ``<table>_latest``, which shows the newest row of each identity."""
        return OdpsTable(replace(self.url, table=f"{self.name}_latest"), self.connection)

    @property
    def quoted(self) -> str:
        """The table's name in SQL, relative to the project."""
        return ".".join(f"`{name}`" for name in (self.schema, self.name) if name)

    def close(self) -> None:
        """Drop the connections. The next use opens new ones."""
        self._client = None

    def _connect(self) -> Client:
        # Off: the SDK's own retries, in addition to these, and its thread that keeps each upsert session alive.
        options.retry_times, options.retry_delay = 0, 0.0
        options.tunnel.upsert_keepalive_interval = 86_400
        options.local_timezone = False  # times are UTC, not the host's
        connection, account = self.connection, RenewedAccount(self.connection.provider)
        ours: dict[str, Any] = {"limits": connection.limits, "provider": connection.provider}
        entry = ODPS(
            account=account,
            project=self.project,
            schema=self.schema or None,
            endpoint=connection.endpoint,
            logview_host=LOGVIEW,
            rest_client_cls=BoundedRest,
            rest_client_kwargs=ours,
            overwrite_global=False,
        )
        with reported(self.url, connection.provider):
            endpoint = connection.tunnel_endpoint or _tunnel_endpoint(entry)
        rest = BoundedRest(account, endpoint, self.project, tag="TUNNEL", **ours)
        return Client(entry, _tunnel(TableTunnel, entry, rest), _tunnel(InstanceTunnel, entry, rest))


def _tunnel(kind: Any, entry: Any, rest: BoundedRest) -> Any:
    tunnel = kind(entry, endpoint=rest.endpoint)
    tunnel._tunnel_rest = rest  # noqa: SLF001 - the SDK has no parameter for it, and its own client retries without end
    return tunnel


def _tunnel_endpoint(entry: Any) -> str:
    answer = entry.rest.get(f"{entry.get_project().resource()}/tunnel", action="service")
    return f"{urlsplit(entry.endpoint).scheme}://{answer.text.strip()}"


for _name in ("odps.rest", "odps.accounts"):
    logging.getLogger(_name).setLevel(logging.INFO)  # at DEBUG they log signed headers, which hold session tokens


@dataclass(slots=True)
class RenewedAccount:
    """An account of the SDK whose keys may change from one request to the next."""

    provider: CredentialProvider = field(repr=False)
    _signed_with: tuple[Credentials, Any] | None = field(default=None, repr=False)

    def sign_request(self, request: Any, endpoint: str, region_name: str | None = None) -> None:
        """Sign with the current keys."""
        keys = self.provider.credentials()
        if self._signed_with is None or self._signed_with[0] != keys:
            self._signed_with = keys, _account(keys)
        self._signed_with[1].sign_request(request, endpoint, region_name=region_name)


def _account(keys: Credentials) -> Any:
    if keys.security_token is None:
        return CloudAccount(keys.access_key_id, keys.access_key_secret)
    return StsAccount(keys.access_key_id, keys.access_key_secret, keys.security_token, expired_hours=None)


@dataclass(frozen=True, slots=True)
class Chunks:
    """A request body that can be sent again. It has no length, so it is sent in chunks, as its headers say."""

    chunks: tuple[bytes, ...] = field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body from its start."""
        return iter(self.chunks)


class BoundedReplies(HTTPAdapter):
    """Connections on which a whole reply must arrive within ``total_seconds``; else its reader is told so."""

    def __init__(self, total_seconds: float) -> None:
        super().__init__()
        self._total_seconds = total_seconds

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send, and bound the reading of the reply."""
        response = super().send(*args, **kwargs)
        response.raw.read = partial(_read_until, ref(response.raw), time.monotonic() + self._total_seconds)
        return response


def _read_until(reply: ref[Any], deadline: float, amt: int | None = None, **options: Any) -> bytes:
    """Read as ``HTTPResponse.read`` does, piece by piece, so that the deadline is checked between two pieces.

    The weak reference avoids a cycle, which would keep the connection of an unread reply open.
    """
    raw: Any = reply()
    pieces, missing = [], amt
    while missing is None or missing > 0:
        if time.monotonic() >= deadline:
            raw.close()
            raise ReadTimeoutError(raw, "", "the reply trickled for too long")
        piece = raw.read1(missing, decode_content=options.get("decode_content"))
        if not piece:
            break
        pieces.append(piece)
        missing = None if missing is None else missing - len(piece)
    return b"".join(pieces)


class BoundedRest(RestClient):  # type: ignore[misc]  # the SDK is untyped; a subclass is its way to replace the client
    """REST client whose retries follow :class:`OdpsTimeLimits`. Connections are per process; the SDK shares them."""

    def __init__(self, *args: Any, limits: OdpsTimeLimits, provider: CredentialProvider, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "retry_enabled": False})
        self._limits, self._provider = limits, provider
        self._of_thread = threading.local()

    @property
    def session(self) -> requests.Session:
        """This thread's connections; a forked child opens its own."""
        if getattr(self._of_thread, "process", None) != os.getpid():
            self._of_thread.process, self._of_thread.session = os.getpid(), requests.Session()
            for scheme in ("http://", "https://"):
                self._of_thread.session.mount(scheme, BoundedReplies(self._limits.reply_seconds))
        session: requests.Session = self._of_thread.session
        return session

    def request(self, url: str, method: str, stream: bool = False, **kwargs: Any) -> Any:
        """Send, and retry passing errors within the limits; then raise ``Unavailable``."""
        timeouts = (self._limits.connect_timeout_seconds, self._limits.read_timeout_seconds)
        kwargs["timeout"] = kwargs.get("timeout") or timeouts
        if isinstance(kwargs.get("data"), Iterator):
            kwargs["data"] = Chunks(tuple(kwargs["data"]))

        def send() -> Any:
            return super(BoundedRest, self).request(url, method, stream=stream, **kwargs)

        return retried_within(send, self._limits, self._provider)

    def is_ok(self, resp: Any) -> bool:
        """True for a status below 300. The SDK also accepts 308, which would then never be retried."""
        return bool(resp.status_code < 300)

    def upload_survey_log(self) -> None:
        """Do nothing: the SDK would send a usage report with every request."""


def retried_within(send: Callable[[], Any], limits: OdpsTimeLimits, provider: CredentialProvider) -> Any:
    """Call until success, a permanent error (the SDK's own), or the end of the time limit (``Unavailable``)."""
    deadline = time.monotonic() + limits.retry_seconds
    backoff = Backoff(limits.first_wait_seconds, limits.longest_wait_seconds)
    for attempt in count(1):
        try:
            return send()
        except SDK_ERRORS as error:
            if not is_passing(error):
                raise
            pause_seconds = max(backoff.wait_seconds(attempt), retry_after_seconds(error))
            if time.monotonic() + pause_seconds > deadline:
                told = described(error, provider)
                raise Unavailable(f"MaxCompute cannot serve now: {told}") from None
        time.sleep(pause_seconds)
    raise AssertionError  # count never ends
