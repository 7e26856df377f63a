"""Errors as MaxCompute sends them: a status, a code that the SDK maps to a class, a message."""

from __future__ import annotations

import uuid
from xml.sax.saxutils import escape

from tests.servers.faults import WireFault
from tests.servers.wire import Response


class Refusal(Exception):
    """The error reply of a request. ``code`` is MaxCompute's, such as ``NoSuchPartition``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


class SqlError(Exception):
    """The error of a statement, in the format of an instance: ``ODPS-0130131:[1,1] Table not found - …``."""


def refused(refusal: Refusal) -> Response:
    """Return the reply of an error."""
    return Response(refusal.status, _body(refusal.code, refusal.message), {"x-odps-request-id": uuid.uuid4().hex})


def refusal_fault(status: int, code: str, *, retry_after_seconds: int | None = None) -> WireFault:
    """Return a fault that replies with a MaxCompute code, such as 400 ``MetaTransactionFailed``."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return WireFault("status", status=status, headers=headers, body=_body(code, "injected by a fault rule"))


def _body(code: str, message: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message>'
        f"<RequestId>{uuid.uuid4().hex}</RequestId><HostId>localhost</HostId></Error>"
    ).encode()
