"""Errors as MaxCompute sends them: a status, a code that the SDK maps to a class, a message."""

from __future__ import annotations

import uuid
from xml.sax.saxutils import escape

from tests.servers.faults import WireFault
from tests.servers.wire import Response


class Refusal(Exception):
    """What a request ends in. ``code`` is MaxCompute's name for it, such as ``NoSuchPartition``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


class SqlError(Exception):
    """Why a statement failed, in the words that an instance reports: ``ODPS-0130131:[1,1] Table not found - …``."""


def refused(refusal: Refusal) -> Response:
    """The reply that says so."""
    return Response(refusal.status, _body(refusal.code, refusal.message), {"x-odps-request-id": uuid.uuid4().hex})


def refusal_fault(status: int, code: str, *, retry_after_seconds: int | None = None) -> WireFault:
    """A fault that answers with a code of MaxCompute's, such as 400 ``MetaTransactionFailed``, 429 ``FlowExceeded``."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return WireFault("status", status=status, headers=headers, body=_body(code, "injected by a fault rule"))


def _body(code: str, message: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
        f"<RequestId>{uuid.uuid4().hex}</RequestId><HostId>localhost</HostId></Error>"
    ).encode()
