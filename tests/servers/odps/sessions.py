"""Sessions of the tunnel: named, good for 24 hours, and what the requests about them share."""

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
    """Those of one kind. ``unknown`` is the code for a session that never was or was forgotten."""

    kind: str
    unknown: str
    now: Callable[[], float]
    _open: dict[str, _Session[_State]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, owner: str, state: _State) -> str:
        """A new session's id."""
        session_id = uuid.uuid4().hex
        with self._lock:
            self._open[session_id] = _Session(owner, self.now(), state)
        return session_id

    def get(self, owner: str, session_id: str) -> _State:
        """What belongs to a session that is still good; ``Refusal`` 409 ``StatusConflict`` for one that has expired."""
        if self.is_expired(owner, session_id):
            raise Refusal(409, "StatusConflict", f"The {self.kind} session is expired")
        return self._open[session_id].state

    def peek(self, owner: str, session_id: str) -> _State:
        """What belongs to a session, be it expired."""
        return self._find(owner, session_id).state

    def is_expired(self, owner: str, session_id: str) -> bool:
        """Whether it is older than a day, or was expired by hand."""
        session = self._find(owner, session_id)
        return session.is_expired or self.now() - session.opened > LIFETIME_SECONDS

    def expire(self) -> None:
        """Let all that are open be expired."""
        with self._lock:
            for session in self._open.values():
                session.is_expired = True

    def forget(self) -> None:
        """Know none of them any more."""
        with self._lock:
            self._open.clear()

    def _find(self, owner: str, session_id: str) -> _Session[_State]:
        with self._lock:
            session = self._open.get(session_id)
        if session is None or session.owner != owner:
            raise Refusal(404, self.unknown, f"The specified {self.kind} id is not valid: {session_id}")
        return session


def json_response(content: Mapping[str, object], *, status: int = 200) -> Response:
    """A reply in JSON."""
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json", **request_id()})


def request_id() -> dict[str, str]:
    """The header that every reply carries."""
    return {"x-odps-request-id": uuid.uuid4().hex}


def flag(request: Request, name: str) -> bool:
    """Whether a parameter says ``true``."""
    return request.query.get(name, "").lower() == "true"
