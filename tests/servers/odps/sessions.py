"""Sessions of the tunnel, which are valid for 24 hours, and helpers of their replies."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tests.servers.odps.refusals import Refusal
from tests.servers.wire import Request, Response

LIFETIME_SECONDS = 24 * 3600.0

_State = TypeVar("_State")


@dataclass(slots=True)
class _Session(Generic[_State]):
    owner: str  # the table or instance that it belongs to
    opened: float
    state: _State
    is_expired: bool = False


@dataclass(slots=True)
class Sessions(Generic[_State]):
    """The sessions of one kind. ``unknown`` is the error code for an id without a session."""

    kind: str
    unknown: str
    now: Callable[[], float]
    _open: dict[str, _Session[_State]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, owner: str, state: _State) -> str:
        """Open a session and return its id."""
        session_id = uuid.uuid4().hex
        with self._lock:
            self._open[session_id] = _Session(owner, self.now(), state)
        return session_id

    def get(self, owner: str, session_id: str) -> _State:
        """Return a valid session's state; ``Refusal`` 409 ``StatusConflict`` for an expired session."""
        if self.is_expired(owner, session_id):
            raise Refusal(409, "StatusConflict", f"The {self.kind} session is expired")
        return self._open[session_id].state

    def peek(self, owner: str, session_id: str) -> _State:
        """Return a session's state, expired or not."""
        return self._find(owner, session_id).state

    def is_expired(self, owner: str, session_id: str) -> bool:
        """True if the session is older than a day, or was expired by ``expire``."""
        session = self._find(owner, session_id)
        return session.is_expired or self.now() - session.opened > LIFETIME_SECONDS

    def expire(self) -> None:
        """Expire all open sessions."""
        with self._lock:
            for session in self._open.values():
                session.is_expired = True

    def forget(self) -> None:
        """Delete all sessions."""
        with self._lock:
            self._open.clear()

    def _find(self, owner: str, session_id: str) -> _Session[_State]:
        with self._lock:
            session = self._open.get(session_id)
        if session is None or session.owner != owner:
            raise Refusal(404, self.unknown, f"The specified {self.kind} id is not valid: {session_id}")
        return session


def json_response(content: Mapping[str, object], *, status: int = 200) -> Response:
    """Return a reply in JSON."""
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json", **request_id()})


def request_id() -> dict[str, str]:
    """Return the header that every reply carries."""
    return {"x-odps-request-id": uuid.uuid4().hex}


def flag(request: Request, name: str) -> bool:
    """True if a parameter is ``true``."""
    return request.query.get(name, "").lower() == "true"
