"""Keys of the RAM role of an ECS instance or an ACK node, from its metadata service."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from storage.aliyun.credentials import Credentials
from storage.aliyun.profile_files import session_keys
from storage.errors import Unavailable, UsageError

METADATA_URL = "http://100.100.100.200"
_ROLES = "/latest/meta-data/ram/security-credentials/"
_MAX_ANSWER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class RamRole:
    """A RAM role; ``load`` gets its keys from the metadata service (hardened mode if possible), without a proxy."""

    role: str | None = None  # None: the role attached to the instance
    metadata_url: str = METADATA_URL
    timeout_seconds: float = 3.0

    def load(self) -> Credentials:
        """Return keys valid for some hours; ``Unavailable``, or ``UsageError`` when there is no such role."""
        token = self._token()
        role = self.role or self._ask("GET", _ROLES, token).decode("utf-8", "replace").strip()
        answer = self._ask("GET", _ROLES + quote(role, safe=""), token)
        place = f"RAM role {role!r} at {self.metadata_url}"
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise Unavailable(f"{place}: the metadata service's answer is not a JSON object")
        return session_keys(place, parsed)

    def _token(self) -> str | None:
        """Return a token of the hardened mode; None where the service has no such mode."""
        status, body = self._exchange("PUT", "/latest/api/token", {"X-aliyun-ecs-metadata-token-ttl-seconds": "60"})
        return body.decode("ascii", "replace").strip() if status == http.HTTPStatus.OK else None

    def _ask(self, method: str, path: str, token: str | None) -> bytes:
        headers = {} if token is None else {"X-aliyun-ecs-metadata-token": token}
        status, body = self._exchange(method, path, headers)
        if status == http.HTTPStatus.NOT_FOUND:
            what = "no RAM role is attached to this instance" if self.role is None else f"no RAM role {self.role!r}"
            raise UsageError(
                f"{what} (metadata service {self.metadata_url}); attach one, or set another source of keys"
            )
        if status != http.HTTPStatus.OK:
            raise Unavailable(f"metadata service {self.metadata_url} answers {status}")
        return body

    def _exchange(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        place = urlsplit(self.metadata_url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=self.timeout_seconds)
        try:
            connection.request(method, place.path.rstrip("/") + path, headers=headers)
            reply = connection.getresponse()
            return reply.status, _body(reply, time.monotonic() + self.timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"metadata service {self.metadata_url} does not answer ({error})") from error
        finally:
            connection.close()


def _body(reply: http.client.HTTPResponse, deadline: float) -> bytes:
    """Return the whole body. The socket's timeout bounds each wait; the deadline bounds an answer that trickles."""
    body = b""
    while piece := reply.read1(_MAX_ANSWER_BYTES - len(body)):
        body += piece
        if time.monotonic() >= deadline:
            raise TimeoutError("the answer took too long")
    if reply.length:
        raise http.client.IncompleteRead(body, reply.length)
    return body
