"""Access keys of Alibaba Cloud, their providers, and their renewal before they expire."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn, Protocol

from storage.errors import Unavailable, UsageError

log = logging.getLogger(__name__)

RENEW_AHEAD = timedelta(minutes=10)  # sessions last an hour or more; the longest upload must fit
RETRY_AFTER = timedelta(seconds=15)  # between attempts to renew keys that are still valid
REREAD_AFTER = timedelta(seconds=60)  # a file that states no expiry


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """An access key, or a session's key and token. ``repr`` is masked; pickling raises ``TypeError``."""

    access_key_id: str
    access_key_secret: str
    security_token: str | None = None
    expires_at: datetime | None = None  # aware; None: until revoked

    def __post_init__(self) -> None:
        for name in ("access_key_id", "access_key_secret"):
            _check_text(name, getattr(self, name))
        if self.security_token is not None:
            _check_text("security_token", self.security_token)
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise UsageError("expires_at of credentials has no time zone; give it in UTC")

    def __repr__(self) -> str:
        """Return the first characters of the key's id and its kind; ``str`` returns the same."""
        kind = "key" if self.security_token is None else "session"
        until = "" if self.expires_at is None else f", until {self.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return f"Credentials({kind} {self.access_key_id[:4]}***{until})"

    def __reduce__(self) -> NoReturn:
        """Raise ``TypeError``: pickled keys would reach messages, caches and crash reports."""
        raise TypeError("credentials are not pickled; each process asks its own provider")


class CredentialProvider(Protocol):
    """A source of keys. Thread-safe; call it before each request, because keys are renewed."""

    def credentials(self) -> Credentials:
        """Return valid keys; ``Unavailable`` when they have expired and cannot be renewed now."""


@dataclass(frozen=True, slots=True)
class StaticProvider:
    """Always the same keys."""

    keys: Credentials

    def credentials(self) -> Credentials:
        """Return the keys."""
        return self.keys


def _now() -> datetime:
    return datetime.now(UTC)


class RenewingProvider:
    """Keys from ``load``, renewed ``renew_ahead`` before they expire, by one thread at a time.

    While the old keys are valid, the other threads use them, and a failed renewal is repeated later. ``load`` raises
    ``Unavailable`` or ``UsageError``. Keys without an expiry are loaded again after ``reread_after``.
    """

    def __init__(
        self,
        load: Callable[[], Credentials],
        *,
        renew_ahead: timedelta = RENEW_AHEAD,
        reread_after: timedelta = REREAD_AFTER,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._load, self._now = load, now
        self._renew_ahead, self._reread_after = renew_ahead, reread_after
        self._renewing = threading.Lock()
        self._keys: Credentials | None = None
        self._renew_at = datetime.min.replace(tzinfo=UTC)

    def credentials(self) -> Credentials:
        """Return valid keys; renew them first if they expire soon."""
        keys = self._keys
        if keys is not None and self._now() < self._renew_at:
            return keys
        if keys is None or self._is_expired(keys):
            with self._renewing:
                return self._renewed()
        if self._renewing.acquire(blocking=False):
            try:
                return self._renewed()
            finally:
                self._renewing.release()
        return keys

    def _renewed(self) -> Credentials:
        keys = self._keys
        if keys is not None and self._now() < self._renew_at:
            return keys  # another thread renewed them
        try:
            fresh = self._load()
        except (Unavailable, UsageError) as fault:
            return self._old_keys_after(keys, fault)
        if self._is_expired(fresh):
            return self._old_keys_after(
                keys, Unavailable(f"{fresh} have expired already; renew them, or correct this machine's clock")
            )
        self._keys, self._renew_at = fresh, self._renewal_of(fresh)
        return fresh

    def _old_keys_after(self, keys: Credentials | None, fault: Unavailable | UsageError) -> Credentials:
        if keys is None or self._is_expired(keys):
            raise Unavailable(f"no valid keys of Alibaba Cloud: {fault}")
        log.warning("%s could not be renewed; the old ones stay in use: %s", keys, fault)
        self._renew_at = self._now() + RETRY_AFTER
        return keys

    def _is_expired(self, keys: Credentials) -> bool:
        return keys.expires_at is not None and keys.expires_at <= self._now()

    def _renewal_of(self, keys: Credentials) -> datetime:
        now = self._now()
        if keys.expires_at is None:
            return now + self._reread_after
        ahead = self._renew_ahead * random.uniform(1.0, 1.1)  # noqa: S311 - spreads a fleet's requests, guards nothing
        return max(keys.expires_at - ahead, now + min(RETRY_AFTER, (keys.expires_at - now) / 2))


def _check_text(name: str, value: object) -> None:
    """Refuse characters that are not allowed in a header; the message does not show them."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} of the Alibaba Cloud credentials is empty; set it")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise UsageError(
            f"{name} of the Alibaba Cloud credentials contains a character that is not allowed in keys; copy it again"
        )
