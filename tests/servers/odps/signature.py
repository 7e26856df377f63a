"""Authentication: the v2 signature (HMAC-SHA1), and the token of temporary credentials."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlparse

from tests.servers.odps.refusals import Refusal
from tests.servers.wire import Request


@dataclass(slots=True)
class AcceptedKeys:
    """The keys that the server accepts; with ``sts_token`` set, requests must carry it."""

    access_id: str
    secret: str
    sts_token: str | None = None
    expired_tokens: set[str] = field(default_factory=set)

    def renew(self, *, sts_token: str) -> None:
        """Accept this token from now on; the token before it has expired."""
        if self.sts_token is not None:
            self.expired_tokens.add(self.sts_token)
        self.sts_token = sts_token

    def check(self, request: Request) -> None:
        """Raise ``Refusal`` unless the request is signed with the secret and carries the token."""
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        access_id, _, signature = rest.rpartition(":")
        if scheme != "ODPS" or not access_id:
            raise Refusal(401, "Unauthorized", "The request authorization header is invalid or missing")
        if access_id != self.access_id:
            raise Refusal(401, "InvalidParameter", "ODPS-0410051:Invalid credentials - accessKeyId not found")
        if not hmac.compare_digest(signature, self._signature(request)):
            message = "ODPS-0410042:Invalid signature value - User signature dose not match"
            raise Refusal(401, "SignatureNotMatch", message)
        self._check_token(request.headers.get("authorization-sts-token"))

    def _signature(self, request: Request) -> str:
        digest = hmac.digest(self.secret.encode(), _string_to_sign(request).encode(), "sha1")
        return base64.b64encode(digest).decode()

    def _check_token(self, token: str | None) -> None:
        if token in self.expired_tokens:
            raise Refusal(401, "AuthenticationRequestExpired", "ODPS-0410061:The specified STS token is expired")
        if token != self.sts_token:
            raise Refusal(401, "Unauthorized", "ODPS-0410051:Invalid credentials - The STS token is not valid")


def _string_to_sign(request: Request) -> str:
    parts = urlparse(unquote(request.target), allow_fragments=False)  # unescaped first, as the SDK signs it
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    signed = {name: value for name, value in (dict(request.headers) | query).items() if name.startswith("x-odps-")}
    signed |= {name: request.headers.get(name, "") for name in ("content-md5", "content-type", "date")}
    lines = [f"{name}:{signed[name]}" if name.startswith("x-odps-") else signed[name] for name in sorted(signed)]
    return "\n".join([request.method, *lines, _resource(parts.path, query)])


def _resource(path: str, query: dict[str, str]) -> str:
    if not query:
        return path
    return path + "?" + "&".join(f"{name}={value}" if value else name for name, value in sorted(query.items()))
